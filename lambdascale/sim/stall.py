"""What a simulated run says when it can never continue: every pending task and where it waits."""

import asyncio
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any


class StalledError(RuntimeError):
    """Virtual time cannot go on: a bug in the program, never a user's mistake."""


def describe(why: str, now: float, tasks: Sequence[asyncio.Task[Any]]) -> str:
    """Return the message of a StalledError at virtual time `now`: each task's name and stack."""
    lines = [f"{why} at t = {now:.6f} s; {len(tasks)} tasks wait:"]
    for task in tasks:
        lines.append(f"  {task.get_name()}")
        lines += [f"    {_place(frame)}" for frame in _frames(task.get_coro())]
    return "\n".join(lines)


def _frames(awaited: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of everything it awaits, outermost first."""
    while awaited is not None:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, inner)
                break
        else:
            return


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
