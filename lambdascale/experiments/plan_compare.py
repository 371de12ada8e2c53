"""All schedules of one scale-out side by side: `lambdascale plan --compare`."""

from collections import Counter
from typing import NotRequired, TypedDict

from lambdascale.experiments.plan_seconds import Pricing, pipeline_seconds
from lambdascale.multicast.bounds import coverage_tick, lower_bound
from lambdascale.multicast.costs import completion, joint_seconds
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.algorithm2 import pipeline_tick
from lambdascale.units import milliseconds


class ComparedRow(TypedDict):
    """One schedule; ticks, and seconds where a price is known. `receives`: the most of a node in one tick."""

    algorithm: str
    num_ticks: int
    tick_ratio: float
    receives: int
    coverage_tick: int
    pipeline_tick: int
    completion_s: NotRequired[float]
    bound_ratio: NotRequired[float]
    coverage_s: NotRequired[float]
    pipeline_s: NotRequired[float]


class Comparison(TypedDict):
    """The schedules in order of their ticks; the ratios are to `lower_bound` and `lower_bound_s`."""

    num_nodes: int
    num_sources: int
    num_blocks: int
    lower_bound: int
    lower_bound_s: NotRequired[float]
    rows: list[ComparedRow]


def compare(
    num_nodes: int,
    num_sources: int,
    num_blocks: int,
    order: str | None = None,
    pricing: Pricing | None = None,
) -> Comparison:
    """Plan with every algorithm; `order` None means each algorithm's own. ConfigError as `plan`."""
    schedules = [plan(name, num_nodes, num_sources, num_blocks, order) for name in ALGORITHMS]
    rows = [_row(schedule, pricing) for schedule in schedules]
    rows.sort(key=lambda row: (row["num_ticks"], row.get("completion_s", 0.0)))
    found = Comparison(
        num_nodes=num_nodes,
        num_sources=num_sources,
        num_blocks=num_blocks,
        lower_bound=lower_bound(num_nodes, num_sources, num_blocks),
        rows=rows,
    )
    if pricing is not None:
        found["lower_bound_s"] = pricing.bound(num_nodes, num_sources, num_blocks)
    return found


def _row(schedule: Schedule, pricing: Pricing | None) -> ComparedRow:
    n, k, b = schedule.num_nodes, schedule.num_sources, schedule.num_blocks
    row = ComparedRow(
        algorithm=schedule.algorithm,
        num_ticks=schedule.num_ticks,
        tick_ratio=schedule.num_ticks / lower_bound(n, k, b),
        receives=max(Counter((t.tick, t.dst) for t in schedule.transfers).values()),
        coverage_tick=coverage_tick(schedule),
        pipeline_tick=pipeline_tick(schedule),
    )
    if pricing is not None:
        times = pricing.times(schedule)
        row["completion_s"] = completion(times)
        row["bound_ratio"] = row["completion_s"] / pricing.bound(n, k, b)
        row["coverage_s"] = joint_seconds(times, range(k, n))
        row["pipeline_s"] = pipeline_seconds(schedule, times)
    return row


def compare_table(found: Comparison) -> str:
    """Return the comparison as aligned text."""
    head = f"{'algorithm':<12} {'ticks':>6} {'÷ bound':>8} {'receives':>9} {'coverage':>9} {'pipeline':>9}"
    bound = f"lower bound: {found['lower_bound']} ticks"
    if "lower_bound_s" in found:
        head += f" {'done ms':>9} {'÷ bound':>8} {'coverage':>9} {'pipeline':>9}"
        bound += f", {milliseconds(found['lower_bound_s']):.1f} ms"
    return "\n".join([head, *map(_line, found["rows"]), bound])


def _line(row: ComparedRow) -> str:
    line = (
        f"{row['algorithm']:<12} {row['num_ticks']:>6} {row['tick_ratio']:>8.2f} "
        f"{row['receives']:>9} {row['coverage_tick']:>9} {row['pipeline_tick']:>9}"
    )
    if "completion_s" in row:
        done, coverage, pipeline = (
            milliseconds(row[key]) for key in ("completion_s", "coverage_s", "pipeline_s")
        )
        line += f" {done:>9.1f} {row['bound_ratio']:>8.2f} {coverage:>9.1f} {pipeline:>9.1f}"
    return line
