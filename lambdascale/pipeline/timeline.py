"""Algorithm 2 over arrival times: every execution pipeline of a scale-out, from when to when.

It replays `Formation`, which is what the controller runs on, so a timeline predicts the run. What the
network, the reports of coverage and the last step of a dissolving pipeline take is given as seconds.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lambdascale.errors import ConfigError
from lambdascale.model.blocks import BlockMap
from lambdascale.multicast.schedule import Multicast
from lambdascale.pipeline.execution import ExecutionPipeline
from lambdascale.pipeline.formation import Changes, Formation


@dataclass(frozen=True, slots=True)
class Span:
    """`pipeline` takes requests in [start_s, leaving_s); its members are free again at `end_s`.

    A replica, the pipeline of one stage, never ends: both are inf.
    """

    pipeline: ExecutionPipeline
    start_s: float
    leaving_s: float = math.inf
    end_s: float = math.inf

    @property
    def is_replica(self) -> bool:
        return len(self.pipeline.stages) == 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """All spans of a scale-out, in the order of their pipelines' ids."""

    spans: tuple[Span, ...]

    @property
    def pipelines(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if not span.is_replica)

    @property
    def replicas(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if span.is_replica)

    def serving(self, time_s: float) -> tuple[ExecutionPipeline, ...]:
        """Return what takes requests at `time_s`."""
        return tuple(s.pipeline for s in self.spans if s.start_s <= time_s < s.leaving_s)


@dataclass(frozen=True, slots=True, order=True)
class Delta:
    """At `time_s` the controller learns that `node` has verified `blocks`."""

    time_s: float
    node: int
    blocks: tuple[int, ...]


def deltas(times: Sequence[Sequence[float]], coalesce_s: float = 0.0) -> Iterator[Delta]:
    """Yield what the controller learns, in order, from times[node][block] (0: held, inf: never).

    As in `cluster.reporter`, a node reports what has arrived `coalesce_s` after the first of it.

    >>> [d.blocks for d in deltas([[0.0, 0.0], [1.0, 2.0]])]
    [(0,), (1,)]
    """
    reports = (d for node, own in enumerate(times) for d in _reports(node, own, coalesce_s))
    yield from sorted(reports)


def _reports(node: int, times: Sequence[float], coalesce_s: float) -> Iterator[Delta]:
    arrived = sorted((t, block) for block, t in enumerate(times) if 0 < t < math.inf)
    while arrived:
        report_s = arrived[0][0] + coalesce_s
        now = [block for t, block in arrived if t <= report_s]
        yield Delta(report_s, node, tuple(now))
        arrived = arrived[len(now) :]


def timeline(
    schedule: Multicast,
    num_sources: int,
    times: Sequence[Sequence[float]],
    blocks: BlockMap,
    costs: Sequence[float],
    dissolve_s: float = 0.0,
    coalesce_s: float = 0.0,
) -> Timeline:
    """Return the spans that follow from block arrivals `times[node][block]` (`timing.arrival_times`).

    `costs` has one entry per part. `dissolve_s` is how long a pipeline needs to stop: its step and two
    messages. Raises ConfigError if `times` does not fit the schedule.
    """
    if len(times) != schedule.num_nodes or any(len(t) != schedule.num_blocks for t in times):
        raise ConfigError(
            f"times must have {schedule.num_nodes} rows of {schedule.num_blocks} seconds each"
        )
    groups = [group[1:] for group in schedule.subgroups]
    formation = Formation(groups, range(num_sources), blocks, costs)
    return Timeline(_Replay(formation, dissolve_s).run(list(deltas(times, coalesce_s))))


class _Replay:
    """Two kinds of event, dissolutions before arrivals of the same moment."""

    def __init__(self, formation: Formation, dissolve_s: float) -> None:
        self._formation = formation
        self._dissolve_s = dissolve_s
        self._spans: dict[int, Span] = {}
        self._ending: list[tuple[float, int]] = []

    def run(self, arrivals: Sequence[Delta]) -> tuple[Span, ...]:
        self._apply(0.0, self._formation.decide())
        for delta in arrivals:
            self._dissolve_until(delta.time_s)
            self._formation.arrived(delta.node, delta.blocks)
            self._apply(delta.time_s, self._formation.decide())
        self._dissolve_until(math.inf)
        return tuple(self._spans.values())

    def _dissolve_until(self, time_s: float) -> None:
        while self._ending and self._ending[0][0] <= time_s:
            end_s, pipeline = heapq.heappop(self._ending)
            self._formation.dissolved(pipeline)
            self._apply(end_s, self._formation.decide())

    def _apply(self, now: float, changes: Changes) -> None:
        for pipeline in changes.leaving:
            end_s = now + self._dissolve_s
            self._spans[pipeline] = replace(self._spans[pipeline], leaving_s=now, end_s=end_s)
            heapq.heappush(self._ending, (end_s, pipeline))
        for formed in (*changes.replicas, *changes.pipelines):
            self._spans[formed.id] = Span(formed, now)
