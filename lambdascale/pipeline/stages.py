"""Which member of an execution pipeline runs which parts: contiguous stages over partly loaded nodes.

Fewest stages first, because every stage is a hop; among those, the smallest largest load of a node,
because the slowest node sets the pace. A member whose blocks have a hole may own two stages (A → B → A)
if no cover with as few stages does without; a member that no stage needs is left out.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from lambdascale.errors import ConfigError

SEARCH_LIMIT = 4_000  # options looked at: exact below it, the best found so far (a few ms) beyond


@dataclass(frozen=True, slots=True)
class Stage:
    """`node` runs parts [first, stop)."""

    node: int
    first: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.stop:
            raise ConfigError(f"stage [{self.first}, {self.stop}) of node {self.node} is empty")


def assign_stages(
    costs: Sequence[float], runnable: Mapping[int, AbstractSet[int]]
) -> tuple[Stage, ...] | None:
    """Cover parts 0 … len(costs) − 1 in order, or return None if some part is runnable nowhere.

    `costs[p]` ≥ 0 is what part p costs its node (bytes or seconds); `runnable[node]` are the parts it can
    run now. The answer depends on the values only, not on the order of the mapping.

    >>> assign_stages([1, 1, 1, 1], {4: {0, 1, 2}, 7: {1, 2, 3}})
    (Stage(node=4, first=0, stop=2), Stage(node=7, first=2, stop=4))
    """
    if not costs or min(costs) < 0:
        raise ConfigError("costs must name at least one part, and none may be negative")
    reaches = {node: _reach(len(costs), runnable[node]) for node in sorted(runnable)}
    farthest = [max((reach[p] for reach in reaches.values()), default=p) for p in range(len(costs))]
    num_stages = _fewest(farthest)
    if num_stages is None:
        return None
    return _Search(costs, reaches, _floors(costs, farthest, num_stages)).run()


def _reach(num_parts: int, parts: AbstractSet[int]) -> list[int]:
    """For each part p the end of the run of runnable parts that begins at p (p itself: none)."""
    reach = list(range(num_parts + 1))
    for p in reversed(range(num_parts)):
        if p in parts:
            reach[p] = reach[p + 1]
    return reach


def _fewest(farthest: Sequence[int]) -> int | None:
    """The number of stages if each goes as far as any node can; None if one cannot advance."""
    part, num_stages = 0, 0
    while part < len(farthest):
        if farthest[part] == part:
            return None
        part, num_stages = farthest[part], num_stages + 1
    return num_stages


def _floors(costs: Sequence[float], farthest: Sequence[int], num_stages: int) -> list[list[float]]:
    """floors[r][p]: the smallest largest cost of a stage when r stages must cover all parts from p on."""
    upto = list(accumulate(costs, initial=0.0))
    floors = [[inf] * len(costs) + [0.0]]
    for _ in range(num_stages):
        rest = floors[-1]
        row = [
            min((max(upto[q] - upto[p], rest[q]) for q in range(p + 1, far + 1)), default=inf)
            for p, far in enumerate(farthest)
        ]
        floors.append([*row, 0.0])
    return floors


class _Search:
    """Depth-first branch and bound over (node, stop) of each stage.

    The first descent is greedy and always succeeds; `floors` bounds what a branch can still become.
    """

    def __init__(
        self,
        costs: Sequence[float],
        reaches: Mapping[int, Sequence[int]],
        floors: list[list[float]],
    ) -> None:
        self.upto = list(accumulate(costs, initial=0.0))
        self.reaches = reaches
        self.floors = floors
        self.loads = dict.fromkeys(reaches, 0.0)
        self.best: tuple[Stage, ...] | None = None
        self.bound = inf
        self.looked_at = 0

    def run(self) -> tuple[Stage, ...] | None:
        self._descend((), 0, len(self.floors) - 1)
        return self.best

    def _descend(self, stages: tuple[Stage, ...], part: int, left: int) -> None:
        if left == 0:
            self.best = stages
            self.bound = max(self.loads.values())
            return
        for value, load, node, stop in sorted(self._options(part, left)):
            if value >= self.bound or self._over():
                return
            before, self.loads[node] = self.loads[node], load
            self._descend((*stages, Stage(node, part, stop)), stop, left - 1)
            self.loads[node] = before

    def _over(self) -> bool:
        return self.best is not None and self.looked_at > SEARCH_LIMIT

    def _options(self, part: int, left: int) -> list[tuple[float, float, int, int]]:
        """(bound of the branch, the node's load, node, stop) for every way to place the next stage."""
        rest = self.floors[left - 1]
        options = [
            (max(load, rest[stop]), load, node, stop)
            for node, reach in self.reaches.items()
            for stop in range(part + 1, reach[part] + 1)
            if rest[stop] < inf
            for load in (self.loads[node] + self.upto[stop] - self.upto[part],)
        ]
        self.looked_at += len(options)
        return options
