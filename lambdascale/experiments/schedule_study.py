"""How long schedules are, over nodes and blocks, and what a slow or a dead node costs: tidy tables.

Lengths are exact counts of ticks; times are predicted, in block times (see `scenario`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lambdascale.claims.metric import Metric, metric
from lambdascale.errors import ConfigError
from lambdascale.experiments.scenario import Outcome, Scenario
from lambdascale.multicast.bounds import arrivals, coverage_tick, joint_tick
from lambdascale.multicast.costs import spread_seconds
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.schedule import Schedule
from lambdascale.pipeline.algorithm2 import planned_sets

TICKS = "simulated"  # the word for what is computed and not measured


def least_ticks(num_nodes: int, num_sources: int, num_blocks: int) -> int:
    """Return the ticks that any schedule needs with one receive per node and tick.

    Some destination gets its first block in tick ⌈log2(N/k)⌉ or later, and b − 1 more one by one.

    >>> least_ticks(num_nodes=12, num_sources=1, num_blocks=16)
    19
    """
    return num_blocks - 1 + round(spread_seconds(num_nodes, num_sources, 1.0, 0.0))


def lengths(nodes: Sequence[int], num_sources: int, blocks: Sequence[int]) -> pd.DataFrame:
    """Return one row per algorithm, N and b: `algorithm nodes blocks ticks bound`."""
    if not nodes or not blocks:
        raise ConfigError("nothing to plan; give at least one number of nodes and one of blocks")
    rows = [
        (name, n, b, plan(name, n, num_sources, b).num_ticks, least_ticks(n, num_sources, b))
        for n in nodes
        for b in blocks
        for name in ALGORITHMS
    ]
    return pd.DataFrame(rows, columns=["algorithm", "nodes", "blocks", "ticks", "bound"])


def over_nodes(most: int, num_sources: int, num_blocks: int) -> pd.DataFrame:
    """Return `lengths` for N = k + 1 … `most`."""
    return lengths(range(num_sources + 1, most + 1), num_sources, [num_blocks])


def over_blocks(num_nodes: int, num_sources: int, most: int) -> pd.DataFrame:
    """Return `lengths` for b = 1, 2, 4 … `most`; not fewer than k."""
    powers = [1 << i for i in range(most.bit_length())]
    return lengths([num_nodes], num_sources, [b for b in powers if num_sources <= b <= most])


def ratios(frame: pd.DataFrame) -> str:
    """Return ticks ÷ lower bound of each algorithm, over all of `frame`, as aligned text."""
    of_bound = frame["ticks"] / frame["bound"]
    table = of_bound.groupby(frame["algorithm"], sort=False).agg(["min", "mean", "max"])
    return str(table.sort_values("mean", kind="stable").to_string(float_format="{:.2f}".format))


def length_metrics(study: str, frame: pd.DataFrame) -> list[Metric]:
    """Ticks ÷ lower bound of the shortest and of `circulant`, and those of `kway` − (b + ⌈log2 L⌉ − 1).

    frame: of one source, as the formula is for a single sub-group.
    """
    of_bound = frame["ticks"] / frame["bound"]
    circulant = of_bound[frame["algorithm"] == "circulant"]
    kway = frame[frame["algorithm"] == "kway"]
    formula = kway["blocks"] + np.ceil(np.log2(kway["nodes"])) - 1
    return [
        metric(f"schedule.over_{study}.shortest_over_bound", of_bound.min(), TICKS),
        metric(f"schedule.over_{study}.circulant_over_bound", circulant, TICKS),
        metric(f"schedule.over_{study}.kway_minus_formula", kway["ticks"] - formula, TICKS),
    ]


def coverage_metric(num_blocks: int, most: int) -> Metric:
    """The tick at which the receivers of `kway` jointly hold the model − b/k; k = 1, 2, 4, N ≤ `most`."""
    late = [
        coverage_tick(plan("kway", n, k, num_blocks)) - num_blocks / k
        for k in (1, 2, 4)
        for n in range(2 * k, most + 1, k)
    ]
    return metric("schedule.kway.coverage_minus_share", late, TICKS)


def joint_table(schedules: Iterable[Schedule]) -> str:
    """Return when each member set of Algorithm 2 holds the whole model, per schedule, as text."""
    lines = []
    for schedule in schedules:
        arrived = arrivals(schedule)
        for members in planned_sets(schedule):
            tick = joint_tick(arrived, members, schedule.num_blocks)
            names = " + ".join(map(str, members))
            lines.append(f"{schedule.algorithm:<9} nodes {names} hold the model after tick {tick}")
    return "\n".join(lines)


def with_algorithm(scenario: Scenario, algorithm: str) -> Scenario:
    """Return the same request under another algorithm."""
    return replace(scenario, algorithm=algorithm)


def repair_metric(outcome: Outcome) -> Metric:
    """The end of a repair ÷ that of a new multicast to all survivors, begun when the node died."""
    scenario, alive = outcome.scenario, outcome.scenario.num_nodes - 1
    anew = scenario.killed_at + scenario.num_blocks - 1 + (alive - 1).bit_length()
    return metric("schedule.repair_over_anew", outcome.end / anew, TICKS)


def completions(outcomes: Sequence[Outcome]) -> str:
    """Return when each receiver holds every block, one line per outcome, as aligned text."""
    heads = [f"node {node}" for node in outcomes[0].receivers]
    rows = [("block times", *heads)]
    rows += [
        (o.scenario.algorithm, *(_done(o.completion([node])) for node in o.receivers))
        for o in outcomes
    ]
    return "\n".join(f"{row[0]:<12}" + "".join(f"{cell:>8}" for cell in row[1:]) for row in rows)


def _done(time: float) -> str:
    return f"{time:.1f}" if math.isfinite(time) else "dead"
