"""What the threads of a link need: a way back to the event loop, and a way to be woken."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class LoopCaller:
    """Calls functions on the event loop from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call `function` soon; do nothing if the loop is closed, since nobody is left to tell."""
        try:
            self._loop.call_soon_threadsafe(lambda: function(*args, **kwargs))
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def shut_down(sock: socket.socket) -> None:
    """End both directions, which wakes any thread blocked on `sock`; it may be disconnected already."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
