"""In which order each sub-group sends the blocks (paper.md c.5, Algorithm 1 "k-way transmission").

Every order is a function (k sub-groups, b blocks) → one permutation of the blocks per sub-group:

    contiguous   k chunks of ⌈b/k⌉ consecutive blocks; sub-group i starts with chunk i and goes round
    strided      the same with chunks i, i + k, i + 2k, … (the authors' code)
    half         contiguous chunks for k/2 sub-groups, used twice (ablation)
    none         every sub-group sends 0, 1, 2, … (no reorder)
"""

from collections.abc import Callable, Sequence
from itertools import chain, pairwise

from lambdascale.errors import ConfigError

Order = tuple[int, ...]
Orders = Callable[[int, int], tuple[Order, ...]]


def contiguous(num_groups: int, num_blocks: int) -> tuple[Order, ...]:
    """Rotate chunks of consecutive blocks.

    >>> contiguous(2, 4)
    ((0, 1, 2, 3), (2, 3, 0, 1))
    """
    length = -(-num_blocks // num_groups)
    cuts = [min(i * length, num_blocks) for i in range(num_groups + 1)]
    return _rotations([range(*ends) for ends in pairwise(cuts)])


def strided(num_groups: int, num_blocks: int) -> tuple[Order, ...]:
    """Rotate chunks of every k-th block.

    >>> strided(2, 4)
    ((0, 2, 1, 3), (1, 3, 0, 2))
    """
    return _rotations([range(i, num_blocks, num_groups) for i in range(num_groups)])


def half(num_groups: int, num_blocks: int) -> tuple[Order, ...]:
    """Share each of k/2 contiguous orders between sub-groups i and i + k/2.

    >>> half(4, 4)
    ((0, 1, 2, 3), (2, 3, 0, 1), (0, 1, 2, 3), (2, 3, 0, 1))
    """
    orders = contiguous(max(1, num_groups // 2), num_blocks)
    return tuple(orders[i % len(orders)] for i in range(num_groups))


def none(num_groups: int, num_blocks: int) -> tuple[Order, ...]:
    """Every sub-group sends the blocks as they are numbered.

    >>> none(2, 4)
    ((0, 1, 2, 3), (0, 1, 2, 3))
    """
    return (tuple(range(num_blocks)),) * num_groups


def _rotations(chunks: Sequence[range]) -> tuple[Order, ...]:
    """Order i is chunk i, then the chunks after it, circularly."""
    return tuple(tuple(chain.from_iterable((*chunks[i:], *chunks[:i]))) for i in range(len(chunks)))


ORDERS: dict[str, Orders] = {
    "contiguous": contiguous,
    "strided": strided,
    "half": half,
    "none": none,
}


def block_orders(name: str, num_groups: int, num_blocks: int) -> tuple[Order, ...]:
    """Return one block order per sub-group; ConfigError if `name` is unknown."""
    if name not in ORDERS:
        raise ConfigError(f"order {name!r} is unknown; use one of {', '.join(ORDERS)}")
    return ORDERS[name](num_groups, num_blocks)
