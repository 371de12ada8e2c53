"""One program with a deadline: neither it nor what it started outlives this process, or an interrupt."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from lambdascale.errors import DeadlineError


def run(command: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> int:
    """Run a program to its end and return its exit status; what it prints is seen at once.

    It is in a session of its own: an interrupt at the terminal is ours to handle. Raises DeadlineError.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
    ) as process:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeadlineError(f"not done after {timeout_s:g} s, so it was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
