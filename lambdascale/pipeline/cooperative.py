"""Cooperative pipelines: partly loaded receivers, and complete nodes that lend the parts still missing.

Beyond the paper: with one source Algorithm 2 has nothing to run before a whole copy has arrived, while a
receiver with the first part could run it and let a source run the rest. Meant for work whose cost adds up
(prefill, large batches); whether a given load is such work is `lending`'s question. Pure values.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from lambdascale.pipeline.spread import spread
from lambdascale.pipeline.stages import Stage

NEGLIGIBLE = 0.005  # of throughput; less is not worth another hop
SLACK = 1.03  # of an even share: parts are too coarse to cut exactly


@dataclass(frozen=True, slots=True)
class Lender:
    """A complete node; residents leave it `speed` (1: idle), weights leave it `egress` bytes per time."""

    node: int
    speed: float = 1.0
    egress: float = inf


@dataclass(frozen=True, slots=True)
class Cooperative:
    """`stages` in execution order, those of `lender` among them, run at `rate` whole passes per time."""

    stages: tuple[Stage, ...]
    lender: int
    rate: float
    lent: float  # cost of the lent stages, per pass
    exits: int  # times that a pass leaves the lender for a member

    @property
    def members(self) -> tuple[int, ...]:
        """The receivers, in the order in which a token first meets them."""
        nodes = dict.fromkeys(stage.node for stage in self.stages)
        return tuple(node for node in nodes if node != self.lender)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What all receivers and lenders do at once; `own[lender]`: passes per time that it runs alone."""

    pipelines: tuple[Cooperative, ...]
    own: Mapping[int, float]

    @property
    def throughput(self) -> float:
        """Whole passes per time."""
        return sum(p.rate for p in self.pipelines) + sum(self.own.values())

    @property
    def num_stages(self) -> int:
        return sum(len(p.stages) for p in self.pipelines)


@dataclass(slots=True)
class _Budget:
    """What a lender has left to give."""

    lender: Lender
    time: float = field(init=False)
    egress: float = field(init=False)

    def __post_init__(self) -> None:
        self.time, self.egress = self.lender.speed, self.lender.egress


def cooperate(
    free: Sequence[int],
    runnable: Mapping[int, Collection[int]],
    lenders: Sequence[Lender],
    costs: Sequence[float],
    hop_nbytes: float = 0.0,
) -> Arrangement:
    """Return the arrangement of the `free` receivers with the highest predicted throughput.

    `costs` is the time of each part for one pass, `hop_nbytes` what a pass sends per hop. Tries every
    number of pipelines and of stages each, shortest first; more must gain more than NEGLIGIBLE. What a
    lender runs for all pipelines and alone fits into its time.

    >>> lend = cooperate([1], {1: {0, 1}}, [Lender(0)], [1, 1, 1, 1])
    >>> lend.throughput, lend.pipelines[0].stages
    (0.5, (Stage(node=1, first=0, stop=2), Stage(node=0, first=2, stop=4)))
    """
    best = _arrange((), lenders, costs, hop_nbytes)
    if not lenders:
        return best
    able = [node for node in free if runnable[node]]
    for sets, share in _choices(able, runnable):
        formed = _spread_all(sets, share, runnable, lenders, costs)
        found = _arrange(formed, lenders, costs, hop_nbytes)
        least = best.throughput * (1 + NEGLIGIBLE)
        if found.throughput > least or (
            found.throughput >= best.throughput and found.num_stages < best.num_stages
        ):
            best = found
    return best


Sets = tuple[tuple[int, ...], ...]


def _choices(
    free: Sequence[int], runnable: Mapping[int, Collection[int]]
) -> Iterator[tuple[Sets, float]]:
    """(member sets, share of what a set holds that one member runs at most)."""
    for count in range(1, len(free) + 1):
        sets = _matched(free, count, runnable)
        for num_stages in range(1, len(sets[0]) + 1):
            yield sets, min(1.0, SLACK / num_stages)


def _matched(free: Sequence[int], count: int, runnable: Mapping[int, Collection[int]]) -> Sets:
    """`count` sets whose members complement each other: each takes in turn whoever adds the rarest parts."""
    holders = Counter(part for node in free for part in runnable[node])
    sets: list[list[int]] = [[] for _ in range(count)]
    left = list(free)
    for turn in range(len(free)):
        mine = sets[turn % count]
        held = frozenset[int]().union(*(runnable[n] for n in mine))
        worth = {n: sum(1 / holders[p] for p in runnable[n] if p not in held) for n in left}
        most = max(left, key=worth.__getitem__)
        mine.append(most)
        left.remove(most)
    return tuple(tuple(members) for members in sets)


def _spread_all(
    sets: Sets,
    share: float,
    runnable: Mapping[int, Collection[int]],
    lenders: Sequence[Lender],
    costs: Sequence[float],
) -> tuple[tuple[int, tuple[Stage, ...]], ...]:
    """(lender, stages) of each set, no member with more than its share or one part."""
    formed = []
    for i, members in enumerate(sets):
        lender = lenders[i % len(lenders)].node
        held = frozenset[int]().union(*(runnable[node] for node in members))
        most = max((costs[p] for p in held), default=0.0)
        cap = max(share * sum(costs[p] for p in held), most)
        own = {node: runnable[node] for node in members}
        formed.append((lender, spread(costs, own, lender, cap)))
    return tuple(formed)


def _arrange(
    formed: Sequence[tuple[int, tuple[Stage, ...]]],
    lenders: Sequence[Lender],
    costs: Sequence[float],
    hop_nbytes: float,
) -> Arrangement:
    """Give each lender's time to the pipelines that borrow least per pass, the rest to its own work."""
    budgets = {lender.node: _Budget(lender) for lender in lenders}
    pipelines = [_rated(stages, lender, costs) for lender, stages in formed]
    pipelines = [_granted(p, budgets[p.lender], hop_nbytes) for p in sorted(pipelines, key=_lent)]
    own = {node: budget.time / sum(costs) for node, budget in budgets.items()}
    return Arrangement(tuple(p for p in pipelines if p.rate > 0), own)


def _lent(pipeline: Cooperative) -> float:
    return pipeline.lent


def _rated(stages: tuple[Stage, ...], lender: int, costs: Sequence[float]) -> Cooperative:
    """A pipeline at the rate of its slowest member, the lender not yet counted."""
    loads: dict[int, float] = {}
    for s in stages:
        loads[s.node] = loads.get(s.node, 0.0) + sum(costs[s.first : s.stop])
    lent = loads.pop(lender, 0.0)
    exits = sum(s.node == lender for s in stages[:-1])
    slowest = max(loads.values(), default=0.0)
    return Cooperative(stages, lender, 1 / slowest if slowest else 0.0, lent, exits)


def _granted(pipeline: Cooperative, budget: _Budget, hop_nbytes: float) -> Cooperative:
    """Take what `pipeline` borrows from `budget`, slowing it down to what is left there."""
    sent = pipeline.exits * hop_nbytes
    rate = pipeline.rate
    if pipeline.lent:
        rate = min(rate, budget.time / pipeline.lent)
    if sent:
        rate = min(rate, budget.egress / sent)
    budget.time -= rate * pipeline.lent
    budget.egress -= rate * sent
    return Cooperative(pipeline.stages, pipeline.lender, rate, pipeline.lent, pipeline.exits)
