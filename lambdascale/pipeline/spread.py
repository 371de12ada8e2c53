"""Which parts the members of a cooperative pipeline run themselves, and which they borrow from a lender.

Beyond the paper. A member takes at most `cap` of the cost, so that several pipelines, or several members,
keep pace with the lender; a part that no member has or has room for is lent. `stages` is the rule for
pipelines without a lender.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from lambdascale.pipeline.stages import Stage


def spread(
    costs: Sequence[float], runnable: Mapping[int, Collection[int]], lender: int, cap: float
) -> tuple[Stage, ...]:
    """Cover all parts: stages of members as long as they hold the parts and have room, else the lender's.

    Greedy from part 0: the member that gets farthest; among equals the one whose later parts are worth
    least. Room for parts that only one member holds is kept free. A part that costs nothing needs none.

    >>> spread([1, 1, 1, 1], {4: {0, 1}, 5: {0, 1, 3}}, lender=0, cap=2)
    (Stage(node=4, first=0, stop=2), Stage(node=0, first=2, stop=3), Stage(node=5, first=3, stop=4))
    """
    holders = Counter(part for parts in runnable.values() for part in parts)
    shared = frozenset(part for part, count in holders.items() if count > 1)
    left = {n: _Member(costs, runnable[n], shared, cap * (1 + 1e-9)) for n in sorted(runnable)}
    runs: list[tuple[int, int, int]] = []
    part = 0
    while part < len(costs):
        reach = {node: member.reach(part) for node, member in left.items()}
        node = min(left, key=lambda n: (-reach[n], left[n].later[reach[n]]), default=lender)
        stop = reach.get(node, part)
        if stop == part:
            node, stop = lender, part + 1
        else:
            left[node].run(part, stop)
        first = runs.pop()[1] if runs and runs[-1][0] == node else part
        runs.append((node, first, stop))
        part = stop
    return tuple(Stage(*run) for run in runs)


class _Member:
    """What a member can still take: of parts that others hold too, and of those that it alone holds."""

    def __init__(
        self, costs: Sequence[float], parts: Collection[int], shared: Collection[int], cap: float
    ) -> None:
        self._costs = costs
        self._parts = parts
        self._shared = shared
        alone = min(cap, sum(costs[p] for p in parts if p not in shared))
        self._room = {True: cap - alone, False: alone * (1 + 1e-9)}
        self.later = [0.0] * (len(costs) + 1)  # the cost of its parts from p on
        for p in reversed(range(len(costs))):
            self.later[p] = self.later[p + 1] + (costs[p] if p in parts else 0.0)

    def reach(self, first: int) -> int:
        """The end of the run of its parts from `first` on that it has room for."""
        return self._walk(first, dict(self._room))

    def run(self, first: int, stop: int) -> None:
        """Take parts [first, stop)."""
        self._walk(first, self._room, stop)

    def _walk(self, part: int, room: dict[bool, float], limit: int | None = None) -> int:
        end = len(self._costs) if limit is None else limit
        while part < end and part in self._parts:
            shared = part in self._shared
            if self._costs[part] > room[shared]:
                break
            room[shared] -= self._costs[part]
            part += 1
        return part
