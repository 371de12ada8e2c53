"""The HTTP server: a socket that is bound before anything is started, and uvicorn on it until the end."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from lambdascale.errors import ConfigError
from lambdascale.serve.connections import Config
from lambdascale.serve.guard import Guard
from lambdascale.serve.limits import Endpoint

GRACE_S = 2  # for the last bytes of answers that are ended
KEEP_ALIVE_S = 5
WHY = {
    errno.EADDRINUSE: "is taken; end who has it, or choose another with --port (0: any free one)",
    errno.EACCES: "may not be used; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "cannot be had: the host is none of this machine; choose another with --host",
}


@contextmanager
def bound(endpoint: Endpoint) -> Iterator[socket.socket]:
    """Yield a socket that is bound to the endpoint's address; raises ConfigError if it cannot be had."""
    host, port = endpoint.host, endpoint.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigError(f"host {host!r} is unknown; give an address of this machine") from error
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen()  # or two could be bound to it, and the second find out at the end of its start
        except OSError as error:
            why = WHY.get(error.errno or 0, f"cannot be used ({error.strerror})")
            raise ConfigError(f"port {port} on {host} {why}") from error
        yield sock


def address_of(sock: socket.socket) -> str:
    """Return the base address of the API."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


async def serve_http(
    app: Guard,
    sock: socket.socket,
    endpoint: Endpoint,
    ready: Callable[[], None],
    hang_up: Callable[[], None],
) -> None:
    """Serve until cancelled, then end every answer by `hang_up` and close all connections."""
    server = _Server(_config(app, endpoint), ready)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    finally:
        hang_up()
        server.should_exit = True
        await asyncio.wait((serving,), timeout=2 * GRACE_S)
        serving.cancel()


def _config(app: Guard, endpoint: Endpoint) -> Config:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return Config(
        header_s=endpoint.header_s,
        max_connections=endpoint.max_connections,
        app=app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=endpoint.max_header,
    )


class _Server(uvicorn.Server):
    """Says when it takes requests."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
