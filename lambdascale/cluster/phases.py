"""The phases of one scale-out: every second of it is in a named one (`records.SCALE_PHASES`).

A phase ends when the next thing happens.
"""

from lambdascale.cluster.records import SCALE_PHASES, RunLog, ScaleRecord

FULL_SPEED = SCALE_PHASES[-1]


class Phases:
    """The moments at which a scale-out reached the ends of its phases, each once."""

    def __init__(self, log: RunLog, number: int, model: str, begun_s: float) -> None:
        self._log = log
        self._number = number
        self._model = model
        self._reached: set[str] = set()
        self._add("begun", begun_s)

    def reached(self, phase: str) -> bool:
        """Note the end of a phase, now, if it is new; after full speed there are no more."""
        new = phase not in self._reached and FULL_SPEED not in self._reached
        if new:
            self._add(phase, self._log.since())
        return new

    def has(self, phase: str) -> bool:
        """Has the end of a phase been reached?"""
        return phase in self._reached

    def _add(self, phase: str, time_s: float) -> None:
        self._reached.add(phase)
        self._log.add(ScaleRecord(self._number, self._model, phase, time_s))
