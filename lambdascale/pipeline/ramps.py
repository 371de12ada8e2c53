"""The ramp of a whole scale-out: what serves at each moment, against the best that the holdings allow.

Throughput in whole passes per unit of `costs` of one node, for work whose cost adds up (prefill, large
batches), with the pipelines full; hops cost latency and no throughput. Areas are over [0, last arrival].
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.model.blocks import BlockMap
from lambdascale.multicast.schedule import Multicast
from lambdascale.pipeline.cooperative import Lender, cooperate
from lambdascale.pipeline.execution import ExecutionPipeline
from lambdascale.pipeline.ramp import area, ramp_bound
from lambdascale.pipeline.timeline import timeline


@dataclass(frozen=True, slots=True)
class Moment:
    """Throughputs from `time_s` until the next moment.

    `replicas` alone; with `algorithm2`; with lending to the receivers that Algorithm 2 leaves free
    (`joined`); with lending to every receiver instead of Algorithm 2 (`cooperative`); and the bound.
    """

    time_s: float
    replicas: float
    algorithm2: float
    joined: float
    cooperative: float
    bound: float


@dataclass(frozen=True, slots=True)
class RampReport:
    """All moments of a scale-out; the last one is its end."""

    moments: tuple[Moment, ...]
    num_sources: int

    def ratio(self, ramp: str, above_sources: bool = False) -> float:
        """Return the area under `ramp` (a field of Moment) ÷ that under the bound.

        With `above_sources` what the k sources serve alone is left out of both areas.
        """
        times = [m.time_s for m in self.moments]
        base = self.num_sources / self._pass_cost if above_sources else 0.0
        found = {m.time_s: getattr(m, ramp) - base for m in self.moments}
        best = {m.time_s: m.bound - base for m in self.moments}
        return area(found.__getitem__, times) / area(best.__getitem__, times)

    @property
    def _pass_cost(self) -> float:
        return self.num_sources / self.moments[0].replicas


def ramps(
    schedule: Multicast,
    num_sources: int,
    times: Sequence[Sequence[float]],
    blocks: BlockMap,
    costs: Sequence[float],
) -> RampReport:
    """Return every ramp over the arrivals `times[node][block]` of `schedule`."""
    course = timeline(schedule, num_sources, times, blocks, costs)
    changes = sorted({time_s for own in times for time_s in own} | {0.0})
    moments = []
    for now in changes:
        held = {
            node: blocks.runnable([i for i, t in enumerate(own) if t <= now])
            for node, own in enumerate(times)
        }
        moments.append(_moment(now, held, course.serving(now), costs))
    return RampReport(tuple(moments), num_sources)


def _moment(
    now: float,
    held: dict[int, frozenset[int]],
    serving: Sequence[ExecutionPipeline],
    costs: Sequence[float],
) -> Moment:
    whole = [node for node, parts in held.items() if len(parts) == len(costs)]
    lenders = [Lender(node) for node in whole]
    multi = [p for p in serving if len(p.stages) > 1]
    busy = {node for p in multi for node in p.members}
    partial = [node for node in held if node not in whole]
    free = [node for node in partial if node not in busy]
    replicas, piped = len(whole) / sum(costs), sum(pipeline_rate(p, costs) for p in multi)
    everyone = cooperate(partial, held, lenders, costs).throughput
    joined = everyone
    if multi:
        joined = piped + cooperate(free, held, lenders, costs).throughput
    bound = ramp_bound(held, costs).throughput
    return Moment(now, replicas, replicas + piped, joined, max(everyone, joined), bound)


def pipeline_rate(pipeline: ExecutionPipeline, costs: Sequence[float]) -> float:
    """Return the passes per time of a full pipeline: its busiest node sets the pace."""
    loads = dict.fromkeys(pipeline.members, 0.0)
    for stage in pipeline.stages:
        loads[stage.node] += sum(costs[stage.first : stage.stop])
    return 1 / max(loads.values())
