"""What `lambdascale plan` prints: a schedule and when it covers the model, as JSON-ready data or as text.

Ticks count from 1 (0: held from the start); nodes and blocks from 0; the sources are nodes 0 … k − 1.
"""

from collections.abc import Iterator, Sequence
from typing import TypedDict

from lambdascale.multicast.bounds import coverage_tick, lower_bound
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.algorithm2 import pipeline_tick

GRID_NODES = 32  # a larger plan is printed without its grid of arrivals
GRID_BLOCKS = 32


class TransferRow(TypedDict):
    """One transfer."""

    tick: int
    src: int
    dst: int
    block: int


class PlanReport(TypedDict):
    """A plan and its key ticks.

    coverage_tick: the destinations together hold every block. pipeline_tick: the members of an Algorithm 2
    set do. lower_bound: no schedule with one receive per node and tick can be done earlier.
    """

    num_nodes: int
    num_sources: int
    num_blocks: int
    algorithm: str
    num_ticks: int
    coverage_tick: int
    pipeline_tick: int
    lower_bound: int
    transfers: list[TransferRow]


def plan_report(schedule: Schedule) -> PlanReport:
    """Return the report of a complete schedule; ScheduleError if some block never arrives."""
    n, k, b = schedule.num_nodes, schedule.num_sources, schedule.num_blocks
    return PlanReport(
        num_nodes=n,
        num_sources=k,
        num_blocks=b,
        algorithm=schedule.algorithm,
        num_ticks=schedule.num_ticks,
        coverage_tick=coverage_tick(schedule),
        pipeline_tick=pipeline_tick(schedule),
        lower_bound=lower_bound(n, k, b),
        transfers=[
            TransferRow(tick=tick, src=src, dst=dst, block=block)
            for tick, src, dst, block in schedule.transfers
        ],
    )


def arrival_grid(report: PlanReport) -> list[list[int]]:
    """Return grid[node][block]: the tick in which the block arrives (0: held from the start)."""
    grid = [[0] * report["num_blocks"] for _ in range(report["num_nodes"])]
    for row in report["transfers"]:
        grid[row["dst"]][row["block"]] = row["tick"]
    return grid


def plan_table(report: PlanReport) -> str:
    """Return the report as aligned text; the arrival of each block at each node too if it is small."""
    lines = list(_summary(report))
    if report["num_nodes"] <= GRID_NODES and report["num_blocks"] <= GRID_BLOCKS:
        lines += ["", "tick in which each block arrives (·: held from the start)", *_grid(report)]
    return "\n".join(lines)


def _summary(report: PlanReport) -> Iterator[str]:
    num_ticks, bound = report["num_ticks"], report["lower_bound"]
    facts = [
        ("algorithm", report["algorithm"], ""),
        ("nodes", report["num_nodes"], f"of them sources: {report['num_sources']}"),
        ("blocks", report["num_blocks"], f"in {len(report['transfers'])} transfers"),
        ("ticks", num_ticks, "until every node holds the model"),
        ("lower bound", bound, f"the plan takes {num_ticks / bound:.2f} × as long"),
        ("coverage tick", report["coverage_tick"], "the destinations together hold every block"),
        ("pipeline tick", report["pipeline_tick"], "the first execution pipeline does"),
    ]
    for name, value, meaning in facts:
        yield f"{name:<14} {value!s:>8}  {meaning}".rstrip()


def _grid(report: PlanReport) -> Iterator[str]:
    width = max(2, len(str(report["num_ticks"])))
    yield _row("block", [str(block) for block in range(report["num_blocks"])], width)
    for node, ticks in enumerate(arrival_grid(report)):
        cells = [str(tick) if tick else "·" for tick in ticks]
        yield _row(f"node {node}", cells, width)


def _row(head: str, cells: Sequence[str], width: int) -> str:
    return f"{head:<8}" + " ".join(f"{cell:>{width}}" for cell in cells)
