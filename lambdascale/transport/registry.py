"""Real transports by name; the chosen one is imported when it is opened."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Transport

LOOPBACK = "127.0.0.1"
POLL_S = 50e-6  # a few round trips of a network that is worth polling for


@dataclass(frozen=True, slots=True)
class Opening:
    """What a transport is opened with: see `open_transport`; `devices` is what followed its name."""

    node: int
    secret: bytes
    rate: float
    host: str
    devices: tuple[str, ...]


Opener = Callable[[Opening], Awaitable[Transport]]


async def _open_shm(given: Opening) -> Transport:
    from lambdascale.transport.shm import ShmTransport

    return await ShmTransport(given.node, given.secret, given.rate).open()


async def _open_tcp(given: Opening) -> Transport:
    from lambdascale.transport.tcp import TcpTransport

    return await TcpTransport(given.node, given.secret, given.rate, given.host).open()


async def _open_rdma(given: Opening, poll_s: float = 0.0) -> Transport:
    from lambdascale.transport.rdma.body import RdmaTransport

    return await RdmaTransport(
        given.node, given.secret, given.rate, given.host, given.devices, poll_s
    ).open()


async def _open_rdma_polling(given: Opening) -> Transport:
    return await _open_rdma(given, POLL_S)


TRANSPORTS: Mapping[str, Opener] = MappingProxyType(
    {"shm": _open_shm, "tcp": _open_tcp, "rdma": _open_rdma, "rdma-polling": _open_rdma_polling}
)

ON_ANY_HOST = ("shm", "tcp")  # the others need devices


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
    return await TRANSPORTS[body_of(name)](Opening(node, secret, rate, host, devices))
