"""Real transports by name; the chosen one is imported when it is opened."""

import logging
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lambdascale.errors import ConfigError
from lambdascale.transport.base import LOOPBACK, Transport
from lambdascale.transport.dock import Dock
from lambdascale.transport.stream import StreamTransport

_log = logging.getLogger(__name__)
POLL_S = 50e-6  # a few round trips of a network that is worth polling for


@dataclass(frozen=True, slots=True)
class Opening:
    """What a body is opened with: see `open_transport`; `devices` are what followed its name."""

    dock: Dock
    secret: bytes
    host: str
    devices: tuple[str, ...]


Opener = Callable[[Opening], Awaitable[Transport]]


async def _open_shm(given: Opening) -> StreamTransport:
    from lambdascale.transport.shm import ShmTransport

    return await ShmTransport(given.dock, given.secret).open()


async def _open_tcp(given: Opening) -> StreamTransport:
    from lambdascale.transport.tcp import TcpTransport

    return await TcpTransport(given.dock, given.secret, given.host).open()


async def _open_rdma(given: Opening, poll_s: float = 0.0) -> StreamTransport:
    from lambdascale.transport.rdma.body import RdmaTransport
    from lambdascale.transport.rdma.ports import place_of_gpu

    near = place_of_gpu(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return await RdmaTransport(
        given.dock, given.secret, given.host, given.devices, poll_s, near
    ).open()


async def _open_rdma_polling(given: Opening) -> StreamTransport:
    return await _open_rdma(given, POLL_S)


async def _open_auto(given: Opening) -> Transport:
    """With rdma where there is a device that can be opened; devices that were named must be."""
    from lambdascale.transport.auto import AutoTransport, this_host

    bodies = {"shm": await _open_shm(given)}
    try:
        bodies["rdma"] = await _open_rdma(given)
    except ConfigError as error:
        if given.devices:
            await bodies["shm"].close()
            raise
        _log.info("node %d goes without rdma: %s", given.dock.node, error)
    bodies["tcp"] = await _open_tcp(given)
    maker = bodies.get("rdma", bodies["tcp"])
    return AutoTransport(given.dock, bodies, maker, this_host())


TRANSPORTS: Mapping[str, Opener] = MappingProxyType(
    {
        "shm": _open_shm,
        "tcp": _open_tcp,
        "auto": _open_auto,
        "rdma": _open_rdma,
        "rdma-polling": _open_rdma_polling,
    }
)

ON_ANY_HOST = ("shm", "tcp")  # rdma needs devices; auto is made of the others


def body_of(name: str) -> str:
    """Return the body that a transport's name asks for; ConfigError if there is none such.

    >>> body_of("rdma:mlx5_0,mlx5_1")
    'rdma'
    """
    body = name.partition(":")[0]
    if body not in TRANSPORTS:
        raise ConfigError(f"transport is {name!r}; choose one of {', '.join(TRANSPORTS)}")
    return body


async def open_transport(
    name: str, node: int, secret: bytes, rate: float = math.inf, host: str = LOOPBACK
) -> Transport:
    """Open the transport called `name` for `node` on the running event loop.

    `rate` (bytes/s) is imposed in both directions; `host` is the address of the interface to listen on.
    Devices may follow the name, as in rdma:mlx5_0,mlx5_1. Raises ConfigError for an unknown name.
    """
    devices = tuple(filter(None, name.partition(":")[2].split(",")))
    return await TRANSPORTS[body_of(name)](Opening(Dock(node, rate), secret, host, devices))
