"""Choose the schedule and the number of blocks by predicted seconds, and say why.

The paper fixes one algorithm, and the block count offline (paper.md c.2). Which is best depends on occupancy,
latency, rate, size and N: where occupancy rules, few rounds win; where latency does, independent broadcasts
or a chain. Round-optimality is a matter of rounds only. Which candidates are tried: see `search`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.multicast.costs import WINDOW, LinkCost
from lambdascale.multicast.plan import ALGORITHMS
from lambdascale.multicast.schedule import Schedule, check_request
from lambdascale.multicast.search import EQUAL, Candidate, Problem, Search, block_counts
from lambdascale.units import milliseconds

MAX_BLOCKS = 256  # more gain less than 1 % on the links of the paper, and each costs a checksum


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen schedule, its prediction, and the least that any schedule and block count allow.

    `candidates` are the algorithms that came into question, each at its best block count, the best first.
    """

    schedule: Schedule
    num_blocks: int
    predicted_s: float
    lower_bound_s: float
    explanation: str
    candidates: tuple[Candidate, ...]


def choose(
    num_nodes: int,
    num_sources: int,
    image_nbytes: float,
    cost: LinkCost,
    algorithms: Sequence[str] = tuple(ALGORITHMS),
    num_blocks: int | None = None,
    max_blocks: int = MAX_BLOCKS,
    window: int = WINDOW,
    barrier: bool = False,
) -> Choice:
    """Return the schedule with the least predicted seconds; `num_blocks` fixes the block count.

    Predictions within 2 % of the least are compared under jitter; those that are then within 0.5 %, by when
    the destinations jointly hold the model (execution pipelines start then). Raises ConfigError for a request
    that cannot work or an unknown algorithm.

    >>> choice = choose(8, 1, image_nbytes=26e9, cost=LinkCost(2e-4, 0.0, 42e9))
    >>> choice.num_blocks, round(choice.predicted_s / (26e9 / 42e9), 2)
    (79, 1.05)
    """
    fewest, most = (num_blocks, num_blocks) if num_blocks is not None else (num_sources, max_blocks)
    check_request(num_nodes, num_sources, min(fewest, most))
    if not image_nbytes > 0:
        raise ConfigError(f"image_nbytes is {image_nbytes}; it must be positive")
    if not algorithms:
        raise ConfigError("algorithms is empty; name at least one")
    problem = Problem(num_nodes, num_sources, image_nbytes, cost, window, barrier)
    candidates = Search(problem, block_counts(fewest, most)).run(algorithms)
    bound = min(map(problem.bound, range(fewest, most + 1)))
    best = candidates[0]
    return Choice(
        schedule=problem.schedule(best.algorithm, best.num_blocks),
        num_blocks=best.num_blocks,
        predicted_s=best.predicted_s,
        lower_bound_s=bound,
        explanation=" ".join(
            [*_explain(problem, candidates, bound), _block_count(problem, best, fewest, most)]
        ),
        candidates=candidates,
    )


def _explain(problem: Problem, candidates: Sequence[Candidate], bound: float) -> tuple[str, str]:
    best, *others = candidates
    chosen = (
        f"{_name(best)} is predicted to take {_ms(best.predicted_s)}: "
        f"{best.predicted_s / problem.one_copy_s:.3f} × the time of one copy on a link, "
        f"{best.predicted_s / bound:.3f} × the least that any schedule needs."
    )
    why = _compared(best, others[0]) if others else "No other algorithm came into question."
    return chosen, why


def _compared(best: Candidate, second: Candidate) -> str:
    head = f"The runner-up is {_name(second)}, {_ms(second.predicted_s)}"
    if math.isnan(second.jittered_s):
        return f"{head}."
    if second.jittered_s > EQUAL * best.jittered_s:
        return (
            f"{head}; with every write delayed at random, {_ms(second.jittered_s)} "
            f"against {_ms(best.jittered_s)}."
        )
    return (
        f"{head}; it is as good, but the destinations jointly hold the model after "
        f"{_ms(second.coverage_s)} instead of {_ms(best.coverage_s)}."
    )


def _block_count(problem: Problem, best: Candidate, fewest: int, most: int) -> str:
    """Say between what the block count strikes the balance, or that it was not free."""
    cost, b = problem.cost, best.num_blocks
    if fewest == most:
        return "The block count was given."
    if b == most:
        return f"{most} is the most blocks that were tried."
    hop_s = problem.one_copy_s / b + cost.occupancy_s + cost.latency_s
    return (
        f"More blocks than {b} add {_ms(cost.occupancy_s)} of occupancy each (now "
        f"{_ms(b * cost.occupancy_s)}); fewer make each hop longer (now {_ms(hop_s)})."
    )


def _name(candidate: Candidate) -> str:
    return f"{candidate.algorithm} with {candidate.num_blocks} blocks"


def _ms(seconds: float) -> str:
    return f"{milliseconds(seconds):.4g} ms"
