"""The search behind `choose`: which algorithms at which block counts are tried, and how they are ranked.

Every algorithm is tried at block counts on a coarse grid, in ascending order; one that falls far behind at
the same block count is given up, and a block count at which no schedule can come close (by
`lower_bound_seconds`) is left out. From the best count of each algorithm that is close to the best the search
climbs on a fine grid. Those that end nearly equally early are run again with every write delayed at random:
two receives in one round, say, cost nothing on paper and much in a crowd.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from lambdascale.multicast.costs import (
    LinkCost,
    completion,
    joint_seconds,
    lower_bound_seconds,
    predicted_seconds,
    predicted_times,
)
from lambdascale.multicast.plan import algorithm_named, plan
from lambdascale.multicast.schedule import Schedule, Transfer
from lambdascale.multicast.timing import Jitter

STEP = 1.2  # ratio of neighbouring block counts on the fine grid
COARSE = 5  # the coarse grid is every fifth of them
GIVE_UP = 1.4  # × the best at the same block count …
GIVE_UP_FROM = 16  # … of at least so many blocks; with few, long pipelines are not yet full
CLOSE = 1.05  # × the best of all: worth a finer look
NEAR = 1.02  # × the best of all: let jitter decide
EQUAL = 1.005  # × the best under jitter: let coverage decide
SAMPLE = (7, 8)  # members and blocks; bases that agree here are one base under two names
JITTER = 0.1  # mean delay of a write ÷ its time on a port; exponential
JITTER_SEEDS = range(2)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An algorithm and a block count: when all is done, and when the destinations jointly hold all.

    `jittered_s` is the mean end if writes are delayed at random; NaN if it was not worth a look.
    """

    algorithm: str
    num_blocks: int
    predicted_s: float
    coverage_s: float
    jittered_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be multicast over which links; see `choose`."""

    num_nodes: int
    num_sources: int
    image_nbytes: float
    cost: LinkCost
    window: int
    barrier: bool

    @property
    def one_copy_s(self) -> float:
        """Seconds that one copy of the image takes on a link, free of any cost per write."""
        return self.image_nbytes / self.cost.rate

    def bound(self, num_blocks: int) -> float:
        n, k = self.num_nodes, self.num_sources
        return lower_bound_seconds(n, k, num_blocks, self.image_nbytes, self.cost)

    def schedule(self, algorithm: str, num_blocks: int) -> Schedule:
        return plan(algorithm, self.num_nodes, self.num_sources, num_blocks)

    def try_out(self, algorithm: str, num_blocks: int) -> Candidate:
        schedule = self.schedule(algorithm, num_blocks)
        times = predicted_times(schedule, self.image_nbytes, self.cost, self.barrier, self.window)
        coverage_s = joint_seconds(times, range(self.num_sources, self.num_nodes))
        return Candidate(algorithm, num_blocks, completion(times), coverage_s)

    def shake(self, candidate: Candidate) -> Candidate:
        """Return the candidate with its mean end under jitter."""
        schedule = self.schedule(candidate.algorithm, candidate.num_blocks)
        mean_s = JITTER * self.cost.busy_s(self.image_nbytes / candidate.num_blocks)
        ends = [
            predicted_seconds(
                schedule, self.image_nbytes, self.cost, self.barrier, self.window, jitter
            )
            for jitter in (exponential(mean_s, seed) for seed in JITTER_SEEDS)
        ]
        return Candidate(
            candidate.algorithm,
            candidate.num_blocks,
            candidate.predicted_s,
            candidate.coverage_s,
            sum(ends) / len(ends),
        )


def exponential(mean_s: float, seed: int) -> Jitter:
    """Return a jitter that delays every write by `mean_s` on average; the same for the same seed."""
    random = Random(seed)
    return lambda _: random.expovariate(1.0) * mean_s


def block_counts(fewest: int, most: int) -> list[int]:
    """Return a geometric grid of block counts from `fewest` to `most`, both included.

    >>> block_counts(4, 10)
    [4, 5, 6, 7, 8, 10]
    """
    steps = math.floor(math.log(most / fewest, STEP))
    return sorted({round(fewest * STEP**i) for i in range(steps + 1)} | {most})


@dataclass(slots=True)
class Search:
    """What has been tried so far, and the best candidate of each algorithm."""

    problem: Problem
    counts: list[int]
    best: dict[str, Candidate] = field(default_factory=dict)
    tried: dict[tuple[str, int], Candidate] = field(default_factory=dict)

    def run(self, algorithms: Iterable[str]) -> tuple[Candidate, ...]:
        """Return the best candidate of every algorithm that came into question, the best first."""
        self._coarse(_distinct(algorithms))
        for candidate in self._by_seconds():
            if candidate.predicted_s <= CLOSE * self._least():
                self._climb(candidate)
        limit = NEAR * self._least()
        near = [c for c in self._by_seconds() if c.predicted_s <= limit]
        far = [c for c in self._by_seconds() if c.predicted_s > limit]
        return (*_ranked([self.problem.shake(c) for c in near] if len(near) > 1 else near), *far)

    def _coarse(self, names: list[str]) -> None:
        for num_blocks in sorted({self.counts[0], *self.counts[::-COARSE]}):
            if self.problem.bound(num_blocks) > CLOSE * self._least():
                continue
            tried = [self._try(name, num_blocks) for name in names]
            limit = GIVE_UP * min(candidate.predicted_s for candidate in tried)
            if num_blocks >= GIVE_UP_FROM:
                names = [c.algorithm for c in tried if c.predicted_s <= limit]

    def _climb(self, candidate: Candidate) -> None:
        """Go to the better neighbour at ever shorter distance (predictions are a little jagged)."""
        for step in (2, 1):
            at = self.counts.index(self.best[candidate.algorithm].num_blocks)
            for index in (at - step, at + step):
                if 0 <= index < len(self.counts) and self._may_win(self.counts[index]):
                    self._try(candidate.algorithm, self.counts[index])

    def _by_seconds(self) -> list[Candidate]:
        return sorted(self.best.values(), key=lambda candidate: candidate.predicted_s)

    def _least(self) -> float:
        return min((c.predicted_s for c in self.best.values()), default=math.inf)

    def _may_win(self, num_blocks: int) -> bool:
        return self.problem.bound(num_blocks) < self._least()

    def _try(self, name: str, num_blocks: int) -> Candidate:
        candidate = self.tried.get((name, num_blocks)) or self.problem.try_out(name, num_blocks)
        self.tried[name, num_blocks] = candidate
        if name not in self.best or candidate.predicted_s < self.best[name].predicted_s:
            self.best[name] = candidate
        return candidate


def _distinct(algorithms: Iterable[str]) -> list[str]:
    """Leave out what differs from another algorithm in name or block order only: the times are the same."""
    by_transfers: dict[tuple[Transfer, ...], str] = {}
    for name in sorted(algorithms, key=lambda name: algorithm_named(name).order == "none"):
        by_transfers.setdefault(algorithm_named(name).base(*SAMPLE), name)
    return list(by_transfers.values())


def _ranked(near: list[Candidate]) -> list[Candidate]:
    """Those that jitter leaves equally early come first, in the order in which they cover the model."""
    equal = EQUAL * min(c.jittered_s for c in near) if len(near) > 1 else 0.0

    def rank(candidate: Candidate) -> tuple[bool, float]:
        late = candidate.jittered_s > equal
        return late, candidate.jittered_s if late else candidate.coverage_s

    return sorted(near, key=rank)
