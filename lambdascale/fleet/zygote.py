"""The nursery's process: imports the slow modules once, then forks one process per agent.

Reads and writes one JSON object a line, over the socket that was its standard input when it began:

    → {"node": 2, "entry": "package.module:function", "argument": …}
    → {"kill": 2}
    ← {"ended": 2, "status": -9}

It ends when that line does or its maker dies. If it has a door and a lease, it lets in another there,
one at a time, and tells it what there is; it ends when its lease does:

    ← {"nursery": 4711, "living": [0, 1, 3]}

Its children end when it does, however it ends. It must stay single-threaded (it forks), so it imports but
never computes.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from lambdascale.errors import LambdaScaleError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


class Zygote:
    """Forks on request and tells of deaths over a line; if that ends, waits at the door for another."""

    def __init__(self, line: socket.socket, door: socket.socket | None, lease_s: float) -> None:
        self._line: socket.socket | None = None
        self._door = door
        self._lease_s = lease_s
        self._until_s = 0.0
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, tuple[int, int]] = {}  # node → (pid, pidfd)
        self._unread = b""
        self._follow(line)

    def serve(self) -> None:
        """Serve requests until nobody has commanded for as long as the lease."""
        while self._line or time.monotonic() < self._until_s:
            left_s = None if self._line else self._until_s - time.monotonic()
            for key, _ in self._selector.select(left_s):
                key.data()

    def _follow(self, line: socket.socket) -> None:
        self._line, self._unread = line, b""
        self._selector.register(line, selectors.EVENT_READ, partial(self._listen, line))

    def _listen(self, line: socket.socket) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):  # it ended before it had read everything
            data = line.recv(1 << 16)
        if not data:
            self._wait()
            return
        *requests, self._unread = (self._unread + data).split(b"\n")
        for request in requests:
            self._obey(json.loads(request))

    def _wait(self) -> None:
        """Nobody commands any more: open the door."""
        if self._line:
            self._selector.unregister(self._line)
            self._line.close()
        self._line, self._until_s = None, time.monotonic() + self._lease_s
        if self._door:
            self._selector.register(
                self._door, selectors.EVENT_READ, partial(self._open, self._door)
            )

    def _open(self, door: socket.socket) -> None:
        self._selector.unregister(door)
        line, _ = door.accept()
        self._follow(line)
        self._say({"nursery": os.getpid(), "living": list(self._children)})

    def _say(self, message: dict[str, Any]) -> None:
        if self._line:
            with contextlib.suppress(ConnectionError):  # its end is about to be read
                self._line.sendall(json.dumps(message).encode() + b"\n")

    def _obey(self, request: dict[str, Any]) -> None:
        if "kill" not in request:
            self._fork(request)
        elif request["kill"] in self._children:
            os.kill(self._children[request["kill"]][0], signal.SIGKILL)  # not buried, so still it

    def _fork(self, request: dict[str, Any]) -> None:
        parent, node = os.getpid(), request["node"]
        pid = os.fork()
        if pid == 0:
            _live(request, parent, self._let_go)
        watch = os.pidfd_open(pid)
        self._children[node] = (pid, watch)
        self._selector.register(watch, selectors.EVENT_READ, partial(self._bury, node))

    def _let_go(self) -> None:
        """Close what is the nursery's and not its child's."""
        self._selector.close()
        for opened in (self._line, self._door):
            if opened:
                opened.close()
        for _, watch in self._children.values():
            os.close(watch)

    def _bury(self, node: int) -> None:
        pid, watch = self._children.pop(node)
        self._selector.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(pid, 0)
        self._say({"ended": node, "status": os.waitstatus_to_exitcode(status)})


def _live(request: dict[str, Any], parent: int, let_go: Callable[[], None]) -> None:
    """The child: die with the nursery, let go of what is not its own, then run the entry function."""
    status = 1
    try:
        _die_with(parent)
        let_go()
        module, _, name = request["entry"].partition(":")
        getattr(importlib.import_module(module), name)(request["argument"])
        status = 0
    except LambdaScaleError as error:
        print(f"node {request['node']}: {error}", file=sys.stderr)
    except BaseException:  # the process ends here; its reason must be seen
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when `parent` ends; leave at once if it has."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _line() -> socket.socket:
    """What was standard input, out of the way of processes that imported modules start."""
    line = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return line


def _door(descriptor: int) -> socket.socket | None:
    if descriptor < 0:
        return None
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


def main(parent: int, door: int, lease_s: float, preload: list[str]) -> None:
    """Import `preload`, then serve."""
    if door < 0:
        _die_with(parent)
    line, entrance = _line(), _door(door)
    for module in preload:
        importlib.import_module(module)
    sys.stdout.flush()  # or every child would print again what is left in the buffer
    gc.collect()
    gc.freeze()  # or the children's collectors would touch, and so copy, every shared page
    Zygote(line, entrance, lease_s).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
