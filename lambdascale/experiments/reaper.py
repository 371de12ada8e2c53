"""Kills agents at given times of a run, on either clock: what an experiment on faults does to a fleet."""

import asyncio
from types import TracebackType
from typing import Self

from lambdascale.cluster.records import PhaseRecord, Record
from lambdascale.fleet.base import Fleet

Deaths = tuple[tuple[int, float], ...]  # node, seconds after the start


class Reaper:
    """Watches for the start of a run, then kills; what is left to be killed at its end, lives."""

    def __init__(self, fleet: Fleet, deaths: Deaths) -> None:
        self._fleet = fleet
        self._deaths = deaths
        self._timers: list[asyncio.TimerHandle] = []
        self._kills: list[asyncio.Task[None]] = []

    def __call__(self, record: Record) -> None:
        if isinstance(record, PhaseRecord) and record.phase == "started":
            later = asyncio.get_running_loop().call_later
            self._timers += [later(at_s, self._kill, node) for node, at_s in self._deaths]

    def _kill(self, node: int) -> None:
        self._kills.append(asyncio.ensure_future(self._fleet.kill(node)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        for kill in self._kills:
            kill.cancel()
