"""A multicast over links of unequal rates, in which a slow node slows nobody (beyond the paper).

The fast members run the round-optimal broadcast at their own pace, and the slow ones are fed by the sends
it leaves idle (`spare`). A tick is the time one block takes the slowest of the fast; who counts as fast
is decided by predicting every choice. The ticks are an order; the times follow from the rates (`timing`).
"""

from collections.abc import Sequence

from lambdascale.multicast.circulant import circulant
from lambdascale.multicast.order import block_orders
from lambdascale.multicast.plan import algorithm_named, lay
from lambdascale.multicast.schedule import Schedule, Transfer, check_request
from lambdascale.multicast.spare import feed_slow
from lambdascale.multicast.subgroups import split
from lambdascale.multicast.timing import arrival_times, node_rates

NAME = "weighted"


def weighted(
    rates: Sequence[float], num_sources: int, num_blocks: int, order: str | None = None
) -> Schedule:
    """Plan a multicast to nodes whose links take `rates[node]` bytes/s in each direction.

    Otherwise as `plan`. With a source and at least two receivers at full rate, one receiver at a quarter
    of it or more, and b ≥ 20·⌈log2 N⌉ (the pipeline must fill), the fast receivers are done within 1.15 ×
    the time of one copy, and the slow one within 1.05 × what its own link takes.

    >>> schedule = weighted([1.0, 1.0, 1.0, 0.5], num_sources=1, num_blocks=2)
    >>> for tick, src, dst, block in schedule.transfers:
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 0 -> 2 block 0
    tick 2: 0 -> 1 block 1
    tick 2: 2 -> 3 block 0
    tick 3: 2 -> 1 block 0
    tick 3: 0 -> 2 block 1
    tick 4: 0 -> 3 block 1
    """
    per_node = node_rates(rates, len(rates))
    check_request(len(rates), num_sources, num_blocks)
    groups = split(len(rates), num_sources)
    orders = block_orders(order or algorithm_named(NAME).order, len(groups), num_blocks)
    transfers = [
        transfer
        for group, blocks in zip(groups, orders, strict=True)
        for transfer in lay(_group([per_node[n] for n in group], num_blocks), group, blocks)
    ]
    transfers.sort(key=lambda transfer: transfer.tick)
    return Schedule(NAME, len(rates), num_sources, num_blocks, groups, tuple(transfers), True)


def _group(rates: Sequence[float], num_blocks: int) -> list[Transfer]:
    """Return the transfers, by position, of the choice of fast members that stretches times least."""
    usable = [min(rate, rates[0]) for rate in rates]
    plans = [_with_pace(usable, num_blocks, pace) for pace in sorted(set(usable[1:]), reverse=True)]
    return min(plans, key=lambda plan: _stretch(plan, usable, num_blocks))


def _with_pace(usable: Sequence[float], num_blocks: int, pace: float) -> list[Transfer]:
    """Broadcast among the source and those at least as fast as `pace`; feed the others."""
    fast = [0, *(at for at in range(1, len(usable)) if usable[at] >= pace)]
    transfers = lay(circulant(len(fast), num_blocks), fast, range(num_blocks))
    periods = {at: pace / rate for at, rate in enumerate(usable) if at and rate < pace}
    return feed_slow([(1 << num_blocks) - 1, *[0] * (len(usable) - 1)], transfers, periods)


def _stretch(transfers: Sequence[Transfer], usable: Sequence[float], num_blocks: int) -> float:
    """Return the largest ratio of a member's completion to the time its own link takes for a copy."""
    members = tuple(range(len(usable)))
    plan = Schedule(NAME, len(usable), 1, num_blocks, (members,), tuple(transfers), True)
    times = arrival_times(plan, usable, block_nbytes=1.0)
    return max(max(times[at]) * usable[at] / num_blocks for at in members[1:])
