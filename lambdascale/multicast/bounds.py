"""When blocks arrive under a schedule, and how early any schedule could be done (paper.md c.4–c.5)."""

from collections.abc import Iterable, Mapping, Sequence

from lambdascale.errors import ScheduleError
from lambdascale.multicast.schedule import Schedule

Arrivals = Sequence[Mapping[int, int]]  # per node: block → the tick in which it arrives


def lower_bound(num_nodes: int, num_sources: int, num_blocks: int) -> int:
    """Return the least T ≥ b with Σ over t ≤ T of min(N − k, k·2^(t−1)) ≥ (N − k)·b.

    In tick t at most k·2^(t−1) nodes hold anything to send, and N − k nodes receive one block each.

    >>> lower_bound(num_nodes=8, num_sources=1, num_blocks=16)
    18
    """
    receivers = num_nodes - num_sources
    ticks, delivered, senders = 0, 0, num_sources
    while senders < receivers and delivered < receivers * num_blocks:
        ticks, delivered, senders = ticks + 1, delivered + senders, senders * 2
    missing = max(0, receivers * num_blocks - delivered)
    return max(num_blocks, ticks + -(-missing // receivers))


def arrivals(schedule: Schedule) -> tuple[dict[int, int], ...]:
    """Return, per node, block → arrival tick; a source holds every block from tick 0.

    >>> from lambdascale.multicast.plan import plan
    >>> arrivals(plan("kway", num_nodes=4, num_sources=2, num_blocks=2))[2:]
    ({0: 1, 1: 2}, {1: 1, 0: 2})
    """
    held = dict.fromkeys(range(schedule.num_blocks), 0)
    nodes: list[dict[int, int]] = [
        dict(held) if node < schedule.num_sources else {} for node in range(schedule.num_nodes)
    ]
    for tick, _, dst, block in schedule.transfers:
        nodes[dst].setdefault(block, tick)
    return tuple(nodes)


def holdings(schedule: Schedule, tick: int) -> tuple[frozenset[int], ...]:
    """Return, per node, the blocks it holds at the end of `tick` (0: before the multicast)."""
    return tuple(
        frozenset(block for block, arrived in node.items() if arrived <= tick)
        for node in arrivals(schedule)
    )


def joint_tick(arrived: Arrivals, members: Iterable[int], num_blocks: int) -> int:
    """Return the first tick at whose end `members` together hold every block; ScheduleError if never."""
    first: dict[int, int] = {}
    for node in members:
        for block, tick in arrived[node].items():
            first[block] = min(tick, first.get(block, tick))
    if len(first) < num_blocks:
        missing = min(set(range(num_blocks)) - first.keys())
        raise ScheduleError(
            f"block {missing} reaches none of the nodes; validate the schedule first"
        )
    return max(first.values())


def coverage_tick(schedule: Schedule) -> int:
    """Return the first tick at whose end the destinations together hold every block."""
    destinations = range(schedule.num_sources, schedule.num_nodes)
    return joint_tick(arrivals(schedule), destinations, schedule.num_blocks)
