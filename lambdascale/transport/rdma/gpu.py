"""GPU memory that a NIC can reach: by a dma-buf, else by its address, else not (staged in host memory).

Nothing here needs a GPU: memory says how it is exported, a registrar (a rail) how it is registered, and the
first way that both support is taken, with the reasons why the ones before were not.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lambdascale.errors import ConfigError

DMA_BUF, PEER_MEM, STAGED = "dma-buf", "peer-mem", "host staging"


class GpuMemory(Protocol):
    """Memory of a GPU: `address` (bytes) in the address space of the process, and its size."""

    @property
    def address(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def export(self) -> int:
        """Return a dma-buf descriptor for all of it, the caller's to close. ConfigError if it cannot."""
        ...


class Registrar(Protocol):
    """What registers memory with a NIC; both raise ConfigError with what the NIC or driver says."""

    def register(self, address: int, nbytes: int) -> Any: ...
    def register_dmabuf(self, descriptor: int, nbytes: int) -> Any: ...


@dataclass(frozen=True, slots=True)
class Reach:
    """How a NIC reaches GPU memory: `registration` is None if it must be staged.

    Peers address the first byte as `base`. `why` says for each better way what was against it.
    """

    path: str
    registration: Any
    base: int
    why: tuple[str, ...] = ()


def reach(memory: GpuMemory, registrar: Registrar) -> Reach:
    """Register GPU memory in the best way that works."""
    why: list[str] = []
    for path, base, attempt in _ways(memory, registrar):
        try:
            return Reach(path, attempt(), base, tuple(why))
        except ConfigError as error:
            why.append(f"{path}: {error}")
    return Reach(STAGED, None, 0, tuple(why))


def _ways(memory: GpuMemory, registrar: Registrar) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Best first. The bytes of a dma-buf are addressed from 0, others where the process sees them."""

    def by_dmabuf() -> Any:
        with _exported(memory) as descriptor:
            return registrar.register_dmabuf(descriptor, memory.nbytes)

    yield DMA_BUF, 0, by_dmabuf
    yield PEER_MEM, memory.address, lambda: registrar.register(memory.address, memory.nbytes)


@contextmanager
def _exported(memory: GpuMemory) -> Iterator[int]:
    """A registration keeps the buffer; the descriptor is needed no longer."""
    descriptor = memory.export()
    try:
        yield descriptor
    finally:
        os.close(descriptor)
