"""Real transports by name; the chosen one is imported when it is opened."""

import math
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Transport

Opener = Callable[[int, bytes, float], Awaitable[Transport]]


async def _open_shm(node: int, secret: bytes, rate: float) -> Transport:
    from lambdascale.transport.shm import ShmTransport

    return await ShmTransport(node, secret, rate).open()


async def _open_tcp(node: int, secret: bytes, rate: float) -> Transport:
    from lambdascale.transport.tcp import TcpTransport

    return await TcpTransport(node, secret, rate).open()


TRANSPORTS: Mapping[str, Opener] = MappingProxyType({"shm": _open_shm, "tcp": _open_tcp})


async def open_transport(name: str, node: int, secret: bytes, rate: float = math.inf) -> Transport:
    """Open the transport called `name` for `node` on the running event loop.

    `rate` (bytes/s) is imposed in both directions. Raises ConfigError for an unknown name.
    """
    if name not in TRANSPORTS:
        raise ConfigError(f"transport is {name!r}; choose one of {', '.join(TRANSPORTS)}")
    return await TRANSPORTS[name](node, secret, rate)
