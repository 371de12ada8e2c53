"""How a NIC reaches GPU memory, without either: the order of ways, the reasons, and no descriptor left."""

import os
from dataclasses import dataclass, field

import pytest

from lambdascale.errors import ConfigError
from lambdascale.transport.rdma.gpu import DMA_BUF, PEER_MEM, STAGED, reach


@dataclass
class Memory:
    """A GPU's, as far as `reach` sees it."""

    exports: bool
    address: int = 0x7F00_0000_0000
    nbytes: int = 1 << 21
    exported: list[int] = field(default_factory=list)

    def export(self) -> int:
        if not self.exports:
            raise ConfigError("the driver exports no dma-buf")
        self.exported.append(os.memfd_create("gpu"))
        return self.exported[-1]


@dataclass
class Nic:
    """A NIC that takes dma-bufs, addresses, both or neither."""

    dmabuf: bool
    peer_mem: bool

    def register(self, address: int, nbytes: int) -> tuple[str, int, int]:
        if not self.peer_mem:
            raise ConfigError("bad address")
        return "address", address, nbytes

    def register_dmabuf(self, descriptor: int, nbytes: int) -> tuple[str, int]:
        os.fstat(descriptor)  # it is open
        if not self.dmabuf:
            raise ConfigError("not supported")
        return "dma-buf", nbytes


@pytest.mark.parametrize("exports", [True, False])
@pytest.mark.parametrize("dmabuf", [True, False])
@pytest.mark.parametrize("peer_mem", [True, False])
def test_the_best_way_that_both_support_is_taken_with_reasons(exports, dmabuf, peer_mem):
    memory = Memory(exports)
    found = reach(memory, Nic(dmabuf, peer_mem))
    if exports and dmabuf:
        assert (found.path, found.base, found.why) == (DMA_BUF, 0, ())
        assert found.registration == ("dma-buf", memory.nbytes)
    elif peer_mem:
        assert (found.path, found.base, len(found.why)) == (PEER_MEM, memory.address, 1)
        assert found.registration == ("address", memory.address, memory.nbytes)
    else:
        assert (found.path, found.registration, len(found.why)) == (STAGED, None, 2)
    for reason, path in zip(found.why, (DMA_BUF, PEER_MEM), strict=False):
        assert reason.startswith(f"{path}: ")
    for descriptor in memory.exported:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_without_cuda_python_the_error_names_the_package():
    cuda = pytest.importorskip("lambdascale.transport.rdma.cuda")
    try:
        import cuda.bindings
    except ImportError:
        with pytest.raises(ConfigError, match="pip install cuda-python"):
            cuda.CudaMemory(0, 1).export()
