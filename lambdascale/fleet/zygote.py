"""The local fleet's nursery: imports the slow modules once, then forks one process per agent.

Reads one JSON object a line from standard input, writes one a line to standard output:

    → {"node": 2, "entry": "package.module:function", "argument": …}
    ← {"started": 2, "pid": 4711}
    ← {"ended": 2, "status": -9}

It ends when its input does, and its children end when it does, however it ends. It must stay
single-threaded (it forks), so it imports but never computes.
"""

import ctypes
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(preload: list[str]) -> None:
    """Serve fork requests until standard input ends."""
    for module in preload:
        importlib.import_module(module)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.buffer, selectors.EVENT_READ)
    children: dict[int, tuple[int, int]] = {}  # pidfd → (pid, node)
    unread = b""
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin.buffer:
                data = os.read(0, 1 << 16)
                if not data:
                    _end(children)
                    return
                *lines, unread = (unread + data).split(b"\n")
                for line in lines:
                    _fork(json.loads(line), selector, children)
            else:
                selector.unregister(key.fileobj)
                _bury(key.fd, children)


def _fork(
    request: dict[str, Any], selector: selectors.BaseSelector, children: dict[int, tuple[int, int]]
) -> None:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _live(request, parent)
    watch = os.pidfd_open(pid)
    children[watch] = (pid, request["node"])
    selector.register(watch, selectors.EVENT_READ)
    _say({"started": request["node"], "pid": pid})


def _live(request: dict[str, Any], parent: int) -> None:
    """The child: die with the nursery, then run the entry function."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        module, _, name = request["entry"].partition(":")
        getattr(importlib.import_module(module), name)(request["argument"])
        status = 0
    except BaseException:  # the process ends here; its reason must be seen
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bury(watch: int, children: dict[int, tuple[int, int]]) -> None:
    pid, node = children.pop(watch)
    _, status = os.waitpid(pid, 0)
    os.close(watch)
    _say({"ended": node, "status": os.waitstatus_to_exitcode(status)})


def _end(children: dict[int, tuple[int, int]]) -> None:
    for watch, (pid, _) in list(children.items()):
        os.kill(pid, signal.SIGKILL)
        _bury(watch, children)


def _say(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
