"""The nursery of a local fleet: a process that imports the slow modules once and then forks agents.

Made as early as possible: it imports while its maker does other things. One nursery serves any number of
fleets, one after the other. It ends with the thread that made it, however that ends; with a `Door` it
waits there for another to command it, and ends when its lease does. Its children end with it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from lambdascale.errors import DeadlineError
from lambdascale.fleet.door import Door

END_S = 10.0
MODULE = "lambdascale.fleet.zygote"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Nursery:
    """A context manager; `preload` names the modules to import before the first fork.

    `environment` is added to the one that its children get from here. If one waits at `door`, this is
    that one, and `found` are its children.
    """

    def __init__(
        self,
        preload: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        door: Door | None = None,
    ) -> None:
        self._door = door
        self._process: subprocess.Popen[bytes] | None = None
        self.found: list[int] = []
        met = door.knock() if door else None
        if met is None:
            env = os.environ | ONE_THREAD | dict(environment or {})
            self._line, self._process = _made(preload, env, door)
            self.pid = self._process.pid
        else:
            self._line, self.pid, self.found = met
        self._ours = met is None
        self._watch = os.pidfd_open(self.pid)

    @property
    def was_found(self) -> bool:
        """Was it there already?"""
        return self._process is None

    def take(self) -> None:
        """Let one that was found end with us from now on."""
        self._ours = True

    @property
    def line(self) -> int:
        """The descriptor that is ready when `hear` has something."""
        return self._line.fileno()

    def hear(self) -> bytes:
        """Return more of what it says (see `zygote`); nothing when it has ended."""
        with contextlib.suppress(ConnectionError):  # it ended before it had read everything
            return self._line.recv(1 << 16)
        return b""

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send one request. A nursery that is gone is noticed by hearing it, not here."""
        with contextlib.suppress(ConnectionError):
            self._line.sendall(json.dumps(request).encode() + b"\n")

    def kill(self) -> None:
        """End it at once, and with it its children."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._watch, signal.SIGKILL)

    def close(self) -> None:
        """End it and wait for that, unless it was found and not taken. Idempotent."""
        if self._line.fileno() < 0:
            return
        if self._ours:
            self._end()
        self._line.close()
        os.close(self._watch)

    def _end(self) -> None:
        self.kill()
        if not select.select((self._watch,), (), (), END_S)[0]:
            raise DeadlineError(f"the nursery (process {self.pid}) did not end in {END_S:g} s")
        if self._process:
            self._process.wait()
        if self._door:
            self._door.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _made(
    preload: Sequence[str], environment: Mapping[str, str], door: Door | None
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Make a nursery; return the line to it."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.callback(theirs.close)
        entrance = stack.enter_context(door.hung()).fileno() if door else -1
        lease = door.lease_s if door else 0.0
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(os.getpid()), str(entrance), str(lease), *preload],
            stdin=theirs.fileno(),
            stdout=2,  # whatever imported modules print
            pass_fds=(entrance,) if door else (),
            start_new_session=True,  # an interrupt at the terminal is the driver's to handle
            # libraries that start threads at import must not: it forks
            env=environment,
        )
    return ours, process
