"""The parent of a contestant's members: starts one per host, passes on what they share, times the rounds.

A contestant that fails is a `FailedError` with the last line that it wrote; none is waited for beyond its
deadline, and nothing of it outlives its sitting.
"""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from lambdascale.errors import CorruptBlockError, DeadlineError, LambdaScaleError
from lambdascale.experiments.peers.member import SOURCE, Task
from lambdascale.fleet.nursery import ONE_THREAD
from lambdascale.provision.namespaces import Host

ROOT = Path(__file__).parents[3]
PACKAGE = "lambdascale.experiments.peers"
STEP_S = 120.0  # for anything that all members do together


class FailedError(LambdaScaleError):
    """A contestant could not be run; says why in one line."""


@dataclass(frozen=True, slots=True)
class Program:
    """A module of this package and the Python that runs it."""

    module: str
    python: str = sys.executable

    @property
    def argv(self) -> tuple[str, ...]:
        return (self.python, "-m", f"{PACKAGE}.{self.module}")


class Sitting:
    """A context manager: the members of one contestant, node n on the n-th host."""

    def __init__(self, program: Program, hosts: Sequence[Host], task: Task) -> None:
        self._program = program
        self._hosts = hosts
        self._task = task
        self._members: list[_Member] = []
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._rounds = 0

    def __enter__(self) -> Self:
        try:
            for node, host in enumerate(self._hosts):
                self._members.append(_Member(host, self._program, self._folder.name))
                self._members[-1].say({"task": asdict(self._task) | {"node": node}})
            self._mediate()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self) -> tuple[float, ...]:
        """Run one multicast; return per node after how many seconds it had ended there.

        Seconds count from the first node's beginning. Raises CorruptBlockError unless every node holds
        the image of the source.
        """
        self._rounds += 1
        self._tell({"order": "run", "round": self._rounds})
        said = self._mediate()
        wrong = [n for n, each in enumerate(said) if each["digest"] != said[SOURCE]["digest"]]
        if wrong:
            raise CorruptBlockError(
                f"nodes {wrong} do not hold the image of {SOURCE}; run it again"
            )
        began = min(each["began"] for each in said)
        return tuple(each["ended"] - began for each in said)

    def _mediate(self) -> list[dict[str, Any]]:
        """Pass on what members share, until all have entered or said what a round took."""
        while True:
            said = self._hear()
            if "share" not in said[0]:
                return said
            shared = [each["share"] for each in said]
            if shared[0] == "entered":
                self._tell({"shared": shared})
                return said
            self._tell({"shared": shared})

    def _hear(self) -> list[dict[str, Any]]:
        until = time.monotonic() + STEP_S
        return [member.hear(until) for member in self._members]

    def _tell(self, message: Mapping[str, object]) -> None:
        for member in self._members:
            member.say(message)

    def _end(self) -> None:
        for member in self._members:
            member.end()
        for host in self._hosts:
            host.end_processes()
        self._folder.cleanup()


class _Member:
    """One process on one host; a line of JSON each way, and what it wrote to standard error."""

    def __init__(self, host: Host, program: Program, folder: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self._process = subprocess.Popen(
            host.command(*program.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env=os.environ | ONE_THREAD | {"TMPDIR": folder},
            start_new_session=True,
        )
        self._unread = b""

    def say(self, message: Mapping[str, object]) -> None:
        pipe = _present(self._process.stdin)
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError as error:
            raise FailedError(self._reason()) from error

    def hear(self, until: float) -> dict[str, Any]:
        """Return the next message. Raises FailedError, DeadlineError."""
        pipe = _present(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise DeadlineError(f"no answer within {STEP_S:g} s: {self._reason()}")
                data = pipe.read1(1 << 16)  # type: ignore[attr-defined]
                if not data:
                    raise FailedError(self._reason())
                self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return dict(json.loads(line))

    def _reason(self) -> str:
        """The last line that it wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def end(self) -> None:
        """Let it stop by itself for a moment, then end it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def _present(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise FailedError("a member has no pipe")
    return pipe
