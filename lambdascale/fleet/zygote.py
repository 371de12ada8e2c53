"""The nursery's process: imports the slow modules once, then forks one process per agent.

Reads one JSON object a line from standard input, writes one a line to what was standard output when it
began (whatever imported modules print goes to standard error):

    → {"node": 2, "entry": "package.module:function", "argument": …}
    → {"kill": 2}
    ← {"ended": 2, "status": -9}

It ends when its input does or its maker dies, and its children end when it does, however it ends. It
must stay single-threaded (it forks), so it imports but never computes.
"""

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from lambdascale.errors import LambdaScaleError

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


class Zygote:
    """Forks on request and tells of deaths on the descriptor `output`."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, int]] = {}  # node → (pid, pidfd)
        self._unread = b""

    def serve(self) -> None:
        """Serve requests until standard input ends, then end what is left."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != 0:
                    self._bury(key.data)
                elif not (data := os.read(0, 1 << 16)):
                    return
                else:
                    *lines, self._unread = (self._unread + data).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))

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
        self._selector.register(watch, selectors.EVENT_READ, node)

    def _let_go(self) -> None:
        """Close what is the nursery's and not its child's."""
        self._selector.close()
        os.close(self._output)
        for _, watch in self._children.values():
            os.close(watch)

    def _bury(self, node: int) -> None:
        pid, watch = self._children.pop(node)
        self._selector.unregister(watch)
        os.close(watch)
        _, status = os.waitpid(pid, 0)
        message = {"ended": node, "status": os.waitstatus_to_exitcode(status)}
        os.write(self._output, json.dumps(message).encode() + b"\n")


def _live(request: dict[str, Any], parent: int, let_go: Callable[[], None]) -> None:
    """The child: die with the nursery, let go of what is not its own, then run the entry function."""
    status = 1
    try:
        _die_with(parent)
        let_go()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
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


def main(parent: int, preload: list[str]) -> None:
    """Import `preload`, then serve."""
    _die_with(parent)
    output = os.dup(1)
    os.dup2(2, 1)
    for module in preload:
        importlib.import_module(module)
    sys.stdout.flush()  # or every child would print again what is left in the buffer
    gc.collect()
    gc.freeze()  # or the children's collectors would touch, and so copy, every shared page
    Zygote(output).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
