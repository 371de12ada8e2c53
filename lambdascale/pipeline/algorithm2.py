"""Algorithm 2: which destinations are to form execution pipelines with each other (paper.md c.6).

Members of one set come from different sub-groups where possible, because those hold different blocks.
Whether a set can run yet is `execution`'s question; here nothing but sub-groups and ticks is known.
"""

from collections.abc import Sequence

from lambdascale.multicast.bounds import arrivals, joint_tick
from lambdascale.multicast.schedule import Schedule

MemberSet = tuple[int, ...]


def member_sets(destinations: Sequence[Sequence[int]]) -> tuple[MemberSet, ...]:
    """Return the planned member sets for the destinations of each sub-group.

    While several sub-groups have nodes left, take the t-th remaining node of each, for as many t as the
    smallest has nodes; all that remains of a last sub-group is one set.

    >>> member_sets([[2, 3], [4, 5]])
    ((2, 4), (3, 5))
    >>> member_sets([[2, 3, 4, 5], [6]])
    ((2, 6), (3, 4, 5))
    """
    left = [list(group) for group in destinations if group]
    sets: list[MemberSet] = []
    while len(left) > 1:
        rounds = min(map(len, left))
        sets += [tuple(group[t] for group in left) for t in range(rounds)]
        left = [group[rounds:] for group in left if len(group) > rounds]
    return (*sets, *(tuple(group) for group in left))


def planned_sets(schedule: Schedule) -> tuple[MemberSet, ...]:
    """Return the member sets of a whole schedule, before anything has arrived."""
    return member_sets([group[1:] for group in schedule.subgroups])


def pipeline_tick(schedule: Schedule) -> int:
    """Return the first tick at whose end the members of some planned set jointly hold every block.

    >>> from lambdascale.multicast.plan import plan
    >>> pipeline_tick(plan("kway", num_nodes=8, num_sources=2, num_blocks=16))
    9
    """
    arrived = arrivals(schedule)
    return min(joint_tick(arrived, s, schedule.num_blocks) for s in planned_sets(schedule))
