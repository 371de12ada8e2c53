"""How fast things go, as observed: seconds per step of a pipeline, seconds a request is served.

Estimates are exponential averages; they inform routing and scaling, never correctness.
"""

from collections.abc import Iterable

from lambdascale.clock import now

WEIGHT = 0.2  # of the newest observation
PRIOR_SERVICE_S = 1.0


class Paces:
    """Observations of one model."""

    def __init__(self) -> None:
        self.service_s = PRIOR_SERVICE_S
        self.scale_out_s: float | None = None  # none has been seen yet
        self._began: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._steps: dict[int, float] = {}
        self._typical = {True: 0.0, False: 0.0}  # by whether one instance runs all of it

    def begun(self, request: int) -> None:
        """A request has been given a slot."""
        self._began[request] = now()

    def ended(self, request: int) -> None:
        """A request has had its last token."""
        if request in self._began:
            seconds = max(now() - self._began.pop(request), 1e-6)
            self.service_s += WEIGHT * (seconds - self.service_s)

    def forget(self, request: int) -> None:
        """A request has been given up: how long it took says nothing."""
        self._began.pop(request, None)

    def stepped(self, pipeline: int, times: Iterable[float], whole: bool) -> float:
        """A pipeline has made steps at `times`; return its seconds per step (0: not known yet)."""
        before, pace = self._last.get(pipeline), self._steps.get(pipeline)
        for time_s in times:
            if before is not None:
                seconds = time_s - before
                pace = seconds if pace is None else pace + WEIGHT * (seconds - pace)
                self._steps[pipeline] = self._typical[whole] = pace
            before = self._last[pipeline] = time_s
        return self._typical[whole] if pace is None else pace

    def step_s(self, whole: bool) -> float:
        """Return the seconds per step of such a pipeline, 0 if none has been seen."""
        return self._typical[whole]

    def paused(self, pipeline: int) -> None:
        """A pipeline has nothing to do: the time until its next step says nothing."""
        self._last.pop(pipeline, None)

    def grew(self, seconds: float) -> None:
        """A scale-out has taken so long."""
        old = seconds if self.scale_out_s is None else self.scale_out_s
        self.scale_out_s = old + WEIGHT * (seconds - old)

    def gone(self, pipeline: int) -> None:
        """A pipeline is no more."""
        self._last.pop(pipeline, None)
        self._steps.pop(pipeline, None)
