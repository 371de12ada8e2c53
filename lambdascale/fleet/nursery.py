"""The nursery of a local fleet: a process that imports the slow modules once and then forks agents.

Made as early as possible: it imports while its maker does other things. One nursery serves any number of
fleets, one after the other. It ends when its input closes, or with the thread that made it, however that
ends; its children end with it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from lambdascale.errors import ConfigError

END_S = 10.0
MODULE = "lambdascale.fleet.zygote"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Nursery:
    """A context manager; `preload` names the modules to import before the first fork.

    `environment` is added to the one that its children get from here.
    """

    def __init__(
        self, preload: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(os.getpid()), *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt at the terminal is the driver's to handle
            # libraries that start threads at import must not: it forks
            env=os.environ | ONE_THREAD | dict(environment or {}),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> int:
        """The descriptor on which it says who was born and who died; see `zygote`."""
        if self._process.stdout is None:
            raise ConfigError("the nursery has no output pipe")
        return self._process.stdout.fileno()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send one request. A nursery that is gone says so at its output, not here."""
        if self._process.stdin is None:
            raise ConfigError("the nursery has no input pipe")
        with contextlib.suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), json.dumps(request).encode() + b"\n")

    def kill(self) -> None:
        """End it at once, and with it its children."""
        self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it and wait for that. Idempotent."""
        self.kill()
        self._process.wait(END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
