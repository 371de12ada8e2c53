"""Real transports by name; the chosen one is imported when it is opened."""

import math
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Transport

LOOPBACK = "127.0.0.1"
Opener = Callable[[int, bytes, float, str], Awaitable[Transport]]


async def _open_shm(node: int, secret: bytes, rate: float, _: str) -> Transport:
    from lambdascale.transport.shm import ShmTransport

    return await ShmTransport(node, secret, rate).open()


async def _open_tcp(node: int, secret: bytes, rate: float, host: str) -> Transport:
    from lambdascale.transport.tcp import TcpTransport

    return await TcpTransport(node, secret, rate, host).open()


TRANSPORTS: Mapping[str, Opener] = MappingProxyType({"shm": _open_shm, "tcp": _open_tcp})


async def open_transport(
    name: str, node: int, secret: bytes, rate: float = math.inf, host: str = LOOPBACK
) -> Transport:
    """Open the transport called `name` for `node` on the running event loop.

    `rate` (bytes/s) is imposed in both directions; `host` is the address of the interface to listen on.
    Raises ConfigError for an unknown name.
    """
    if name not in TRANSPORTS:
        raise ConfigError(f"transport is {name!r}; choose one of {', '.join(TRANSPORTS)}")
    return await TRANSPORTS[name](node, secret, rate, host)
