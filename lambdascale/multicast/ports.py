"""A validator of times: no port carries more than its rate, whatever produced the times.

`validate` checks ticks; this checks seconds, for schedules whose ticks are only an order (`weighted`).
"""

from collections.abc import Sequence
from itertools import pairwise

from lambdascale.errors import ScheduleError
from lambdascale.multicast.schedule import Multicast
from lambdascale.multicast.timing import node_rates

ROUNDING = 1e-9  # of a sum of thousands of floats


def validate_times(
    schedule: Multicast,
    times: Sequence[Sequence[float]],
    rates: Sequence[float] | float,
    block_nbytes: float,
) -> None:
    """Raise ScheduleError unless `times[node][block]` are possible over ports of `rates` bytes/s.

    A block comes after its sender has it by what the slower of the two ports takes; blocks come to a node one
    by one at its rate; and j blocks are out of a node no sooner than its egress can have sent j.

    >>> from lambdascale.multicast.plan import plan
    >>> validate_times(plan("chain", 4, 1, 1), [[0.0], [1.0], [2.0], [2.5]], 1.0, 1.0)
    Traceback (most recent call last):
    lambdascale.errors.ScheduleError: node 2 to node 3, block 0: arrives at 2.5 s, sent from 2 s, takes 1 s
    """
    takes = [block_nbytes / rate for rate in node_rates(rates, schedule.num_nodes)]
    came: list[list[float]] = [[] for _ in takes]
    went: list[list[float]] = [[] for _ in takes]
    began = [float("inf")] * len(takes)
    for _, src, dst, block in schedule.transfers:
        held, arrived, least = times[src][block], times[dst][block], max(takes[src], takes[dst])
        if _sooner(arrived, held + least):
            raise ScheduleError(
                f"node {src} to node {dst}, block {block}: arrives at {arrived:.6g} s, sent from "
                f"{held:.6g} s, takes {least:.6g} s"
            )
        came[dst].append(arrived)
        went[src].append(arrived)
        began[src] = min(began[src], held)
    for node, least in enumerate(takes):
        _check_ingress(node, sorted(came[node]), least)
    for node, least in enumerate(takes):
        _check_egress(node, sorted(went[node]), began[node], least)


def _sooner(moment: float, earliest: float) -> bool:
    return moment < earliest * (1 - ROUNDING)


def _check_ingress(node: int, moments: Sequence[float], least: float) -> None:
    for before, after in pairwise(moments):
        if _sooner(after, before + least):
            raise ScheduleError(
                f"node {node} gets blocks at {before:.6g} s and {after:.6g} s; one takes {least:.6g} s"
            )


def _check_egress(node: int, moments: Sequence[float], began: float, least: float) -> None:
    for count, moment in enumerate(moments, start=1):
        if _sooner(moment, began + count * least):
            raise ScheduleError(
                f"node {node} has sent {count} blocks by {moment:.6g} s from {began:.6g} s on; one takes "
                f"{least:.6g} s"
            )
