"""Run tasks in processes of their own: what is measured alone, what is simulated side by side.

A task that fails leaves the others running. An interrupt is passed on to every process and waited for, so
that none is left behind; a folder without a manifest is not complete, and is run again.
"""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lambdascale.experiments.execution import command
from lambdascale.experiments.jobs import Task, duration, expected_s
from lambdascale.signals import terminated_as_interrupted

Command = Callable[[Task], list[str]]

LOG = "log.txt"
_POLL_S = 0.1
_PATIENCE_S = 20.0  # for a kernel and its agents to end after an interrupt
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # cores are for other notebooks


@dataclass(frozen=True, slots=True)
class _Running:
    task: Task
    process: "subprocess.Popen[bytes]"
    started_s: float


def run_all(todo: Sequence[Task], num_workers: int, command: Command = command) -> list[Task]:
    """Run tasks in their order, at most `num_workers` at a time; return those that failed.

    `command` makes the command line of a task's process.
    """
    waiting, running, failed = deque(todo), list[_Running](), list[Task]()
    began_s = time.monotonic()
    with _none_left_behind(running):
        while waiting or running:
            while waiting and _may_start(waiting[0], running, num_workers):
                running.append(_start(waiting.popleft(), command))
            time.sleep(_POLL_S)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                failed += [one.task] if one.process.returncode else []
                left = [*waiting, *(other.task for other in running)]
                print(f"[{len(todo) - len(left)} of {len(todo)}] {_said(one)}; ", end="")
                print(_times(time.monotonic() - began_s, left, num_workers), flush=True)
    return failed


def _times(elapsed_s: float, left: Sequence[Task], num_workers: int) -> str:
    to_go = f"about {duration(expected_s(left, num_workers))} to go" if left else "all are done"
    return f"{duration(elapsed_s)} so far, {to_go}"


def _may_start(task: Task, running: Sequence[_Running], num_workers: int) -> bool:
    """What is measured starts when nothing runs, and nothing starts beside it."""
    if task.job.measured:
        return not running
    return len(running) < num_workers and not any(one.task.job.measured for one in running)


def _start(task: Task, command: Command) -> _Running:
    task.folder.mkdir(parents=True, exist_ok=True)
    print(f"{task.name} (about {duration(task.job.seconds)}) → {task.folder}", flush=True)
    environment = os.environ | ({} if task.job.measured else _ONE_THREAD)
    with (task.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command(task),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # an interrupt reaches it once, from here
        )
    return _Running(task, process, time.monotonic())


def _said(one: _Running) -> str:
    seconds = time.monotonic() - one.started_s
    if one.process.returncode == 0:
        return f"{one.task.name} done in {duration(seconds)}"
    log = one.task.folder / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{one.task.name} FAILED: {lines[-1] if lines else 'it said nothing'} (log: {log})"


@contextmanager
def _none_left_behind(running: Sequence[_Running]) -> Iterator[None]:
    """Interrupt what runs when this process is interrupted or terminated, and wait for its end."""
    try:
        with terminated_as_interrupted():
            yield
    finally:
        for one in running:
            one.process.send_signal(signal.SIGINT)
        deadline_s = time.monotonic() + _PATIENCE_S
        for one in running:
            try:
                one.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
