"""From a request (k → N nodes, b blocks) to a schedule, by the name of an algorithm.

An algorithm is a *base*, which serves one sub-group, and the block order it uses unless the caller names
another. `plan` splits the nodes into sub-groups and lays the base over each; any base composes with any
number of sources and any order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.multicast.binomial import binomial, receives_per_tick
from lambdascale.multicast.circulant import circulant
from lambdascale.multicast.interleaved import interleaved
from lambdascale.multicast.order import block_orders
from lambdascale.multicast.relays import chain, ring, star, tree
from lambdascale.multicast.schedule import Schedule, Transfer, check_request
from lambdascale.multicast.subgroups import split

Base = Callable[[int, int], tuple[Transfer, ...]]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """`base` plans one sub-group of (L members, b blocks) by position, in tick order.

    `order` is the default block order; `receives_per_tick` the most blocks a member of a sub-group of L
    gets in one tick.
    """

    base: Base
    order: str
    receives_per_tick: Callable[[int], int]


def _one(num_members: int) -> int:
    return 1


ALGORITHMS: dict[str, Algorithm] = {
    "binomial": Algorithm(binomial, "none", receives_per_tick),
    "kway": Algorithm(binomial, "contiguous", receives_per_tick),
    "circulant": Algorithm(circulant, "contiguous", _one),
    "interleaved": Algorithm(interleaved, "contiguous", _one),
    "weighted": Algorithm(circulant, "contiguous", _one),  # for equal rates; see `weighted`
    "chain": Algorithm(chain, "contiguous", _one),
    "ring": Algorithm(ring, "contiguous", _one),
    "tree": Algorithm(tree, "contiguous", _one),
    "star": Algorithm(star, "contiguous", _one),
}


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm; ConfigError lists the known names."""
    if name not in ALGORITHMS:
        raise ConfigError(f"algorithm {name!r} is unknown; use one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def plan(
    algorithm: str, num_nodes: int, num_sources: int, num_blocks: int, order: str | None = None
) -> Schedule:
    """Plan the multicast of `num_blocks` blocks from nodes 0 … k − 1 to nodes k … N − 1.

    `order` names a block order (see `order`); None means the algorithm's own. Raises ConfigError for an
    unknown name, or for a request that cannot work.

    >>> schedule = plan("kway", num_nodes=4, num_sources=2, num_blocks=4)
    >>> schedule.subgroups
    ((0, 2), (1, 3))
    >>> [t.block for t in schedule.receives_of(3)]
    [2, 3, 0, 1]
    """
    chosen = algorithm_named(algorithm)
    check_request(num_nodes, num_sources, num_blocks)
    groups = split(num_nodes, num_sources)
    orders = block_orders(order or chosen.order, len(groups), num_blocks)
    bases = {size: chosen.base(size, num_blocks) for size in {len(group) for group in groups}}
    transfers = [
        transfer
        for group, blocks in zip(groups, orders, strict=True)
        for transfer in lay(bases[len(group)], group, blocks)
    ]
    transfers.sort(key=lambda transfer: transfer.tick)
    return Schedule(algorithm, num_nodes, num_sources, num_blocks, groups, tuple(transfers))


def lay(base: Sequence[Transfer], group: Sequence[int], blocks: Sequence[int]) -> list[Transfer]:
    """Put nodes for the members of a base and block numbers for its block positions."""
    return [Transfer(tick, group[src], group[dst], blocks[at]) for tick, src, dst, at in base]
