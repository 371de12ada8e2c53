"""A plan in seconds: what `lambdascale plan` adds to its report once it knows the image and the links."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from lambdascale.errors import ConfigError
from lambdascale.experiments.plan_report import GRID_NODES, PlanReport, plan_report
from lambdascale.multicast.choose import Choice, choose
from lambdascale.multicast.costs import (
    WINDOW,
    LinkCost,
    completion,
    joint_seconds,
    lower_bound_seconds,
    predicted_times,
)
from lambdascale.multicast.schedule import Schedule
from lambdascale.multicast.timing import Times
from lambdascale.pipeline.algorithm2 import planned_sets
from lambdascale.units import milliseconds


@dataclass(frozen=True, slots=True)
class Pricing:
    """What turns ticks into seconds: the image, the links, and how the system drives its writes."""

    image_nbytes: float
    link: LinkCost
    barrier: bool = False
    window: int = WINDOW

    def __post_init__(self) -> None:
        if not self.image_nbytes > 0:
            raise ConfigError(f"image_nbytes is {self.image_nbytes}; it must be positive")

    def choose(self, num_nodes: int, num_sources: int, num_blocks: int | None = None) -> Choice:
        """Return the best of all algorithms, and of all block counts unless `num_blocks` is given."""
        return choose(
            num_nodes,
            num_sources,
            self.image_nbytes,
            self.link,
            num_blocks=num_blocks,
            window=self.window,
            barrier=self.barrier,
        )

    def times(self, schedule: Schedule) -> Times:
        """Return when each block arrives at each node, in seconds."""
        return predicted_times(schedule, self.image_nbytes, self.link, self.barrier, self.window)

    def bound(self, num_nodes: int, num_sources: int, num_blocks: int) -> float:
        """Return the seconds that any schedule with so many blocks needs."""
        return lower_bound_seconds(num_nodes, num_sources, num_blocks, self.image_nbytes, self.link)


class LinkRow(TypedDict):
    """What one node sends another in all."""

    src: int
    dst: int
    nbytes: float


class TimedPlanReport(PlanReport):
    """The plan's report with seconds; `coverage_s` and `pipeline_s` are those of the ticks of that name.

    one_copy_s: the image over one link, free of any cost per write. lower_bound_s: no schedule with this
    block count is done earlier. pipeline_s: the first pipeline holds the model; a first token takes a
    prefill from then on. reason: why this schedule, or null if it was asked for.
    """

    image_nbytes: float
    occupancy_s: float
    latency_s: float
    rate: float
    barrier: bool
    window: int
    completion_s: float
    node_completion_s: list[float]
    coverage_s: float
    pipeline_s: float
    one_copy_s: float
    lower_bound_s: float
    bound_ratio: float
    links: list[LinkRow]
    reason: str | None


def timed_report(
    schedule: Schedule, pricing: Pricing, reason: str | None = None
) -> TimedPlanReport:
    """Return the report of a complete schedule with seconds; ScheduleError if a block never arrives."""
    n, k, b = schedule.num_nodes, schedule.num_sources, schedule.num_blocks
    times, bound = pricing.times(schedule), pricing.bound(n, k, b)
    done = completion(times)
    return TimedPlanReport(
        **plan_report(schedule),
        image_nbytes=pricing.image_nbytes,
        occupancy_s=pricing.link.occupancy_s,
        latency_s=pricing.link.latency_s,
        rate=pricing.link.rate,
        barrier=pricing.barrier,
        window=pricing.window,
        completion_s=done,
        node_completion_s=[max(node) for node in times],
        coverage_s=joint_seconds(times, range(k, n)),
        pipeline_s=pipeline_seconds(schedule, times),
        one_copy_s=pricing.image_nbytes / pricing.link.rate,
        lower_bound_s=bound,
        bound_ratio=done / bound,
        links=_links(schedule, pricing.image_nbytes / b),
        reason=reason,
    )


def pipeline_seconds(schedule: Schedule, times: Times) -> float:
    """Return when the members of some Algorithm 2 set first hold every block together."""
    return min(joint_seconds(times, members) for members in planned_sets(schedule))


def _links(schedule: Schedule, block_nbytes: float) -> list[LinkRow]:
    counts = Counter((t.src, t.dst) for t in schedule.transfers)
    return [
        LinkRow(src=src, dst=dst, nbytes=count * block_nbytes)
        for (src, dst), count in sorted(counts.items())
    ]


def seconds_table(report: TimedPlanReport) -> str:
    """Return the seconds as aligned text; those of each node too if there are few."""
    lines = list(_summary(report))
    if report["num_nodes"] <= GRID_NODES:
        lines += ["", "when each node holds the model"]
        lines += [
            f"node {node:<9} {_ms(seconds)}"
            for node, seconds in enumerate(report["node_completion_s"])
        ]
    return "\n".join(lines)


def _summary(report: TimedPlanReport) -> Iterator[str]:
    busiest = max(report["links"], key=lambda link: link["nbytes"])
    share = busiest["nbytes"] / report["image_nbytes"]
    times_copy = report["completion_s"] / report["one_copy_s"]
    facts = [
        ("completion", report["completion_s"], f"{times_copy:.3f} × one copy on a link"),
        ("lower bound", report["lower_bound_s"], f"taken {report['bound_ratio']:.3f} ×"),
        ("coverage", report["coverage_s"], "the destinations together hold the model"),
        ("first pipeline", report["pipeline_s"], "holds the model; its first prefill can start"),
    ]
    for name, seconds, meaning in facts:
        yield f"{name:<14} {_ms(seconds)}  {meaning}"
    yield (
        f"{'links':<14} {len(report['links']):>8}     the busiest ({busiest['src']} to "
        f"{busiest['dst']}) carries {share:.0%} of the image"
    )
    if report["reason"] is not None:
        yield f"why            {report['reason']}"


def _ms(seconds: float) -> str:
    return f"{milliseconds(seconds):>8.1f} ms"
