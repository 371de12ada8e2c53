"""How many blocks one algorithm needs: as few as are nearly as fast as the best number (paper.md c.2).

A block costs its receiver a checksum and a notice and the controller a report, so many more blocks for a
per cent of time are no bargain. Yet not too few where the time of the copy hardly depends on them: nobody can
run a layer that straddles two blocks before both are there, so coarse blocks keep execution pipelines from
forming early.
"""

from lambdascale.multicast.choose import MAX_BLOCKS
from lambdascale.multicast.costs import WINDOW, LinkCost
from lambdascale.multicast.search import Problem, block_counts

SLACK = 0.02  # of the least seconds
LEAST = 64  # about two a layer


def fewest_blocks(
    algorithm: str,
    num_nodes: int,
    num_sources: int,
    image_nbytes: float,
    cost: LinkCost,
    window: int = WINDOW,
    barrier: bool = False,
) -> int:
    """Return the smallest block count from LEAST on whose predicted seconds are within SLACK of the least.

    If writes are so dear that all such counts are below LEAST, the largest of them.
    Raises ConfigError for a request that cannot work.

    >>> fewest_blocks("circulant", 12, 1, image_nbytes=26e9, cost=LinkCost(0.0, 2e-5, 49e9))
    95
    """
    problem = Problem(num_nodes, num_sources, image_nbytes, cost, window, barrier)
    counts = block_counts(num_sources, MAX_BLOCKS)
    seconds = [problem.try_out(algorithm, count).predicted_s for count in counts]
    enough = (1 + SLACK) * min(seconds)
    good = [count for count, s in zip(counts, seconds, strict=True) if s <= enough]
    return next((count for count in good if count >= LEAST), good[-1])
