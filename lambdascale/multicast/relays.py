"""The baselines' broadcasts to compare with: chain, ring, binary tree and star (paper.md 6.5, peers.md).

Members and blocks are positions, as in `binomial`: member 0 is the source, block 0 goes first.
"""

from collections.abc import Iterable, Iterator
from itertools import count, islice

from lambdascale.multicast.schedule import Transfer


def chain(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of a pipeline of members in order; b + L − 2 ticks.

    >>> [(tick, src, dst, block) for tick, src, dst, block in chain(num_members=4, num_blocks=1)]
    [(1, 0, 1, 0), (2, 1, 2, 0), (3, 2, 3, 0)]
    """
    links = [(member, member + 1) for member in range(num_members - 1)]
    return _in_order(
        Transfer(dst + block, src, dst, block) for src, dst in links for block in range(num_blocks)
    )


def ring(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of a pipelined broadcast round a ring, as NCCL's; b + L − 2 ticks.

    Rounds and links are those of `chain`: a broadcast leaves the link that closes the ring idle. What
    differs is around it and no matter of the schedule: NCCL forms a group of all members first, cuts
    a tensor into its own slices, and may run one ring per NIC.

    >>> ring(num_members=4, num_blocks=2) == chain(num_members=4, num_blocks=2)
    True
    """
    return chain(num_members, num_blocks)


def star(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of a source that serves all receivers in turn; b·(L − 1) ticks.

    >>> [(tick, src, dst, block) for tick, src, dst, block in star(num_members=4, num_blocks=1)]
    [(1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 3, 0)]
    """
    receivers = num_members - 1
    return tuple(
        Transfer(block * receivers + dst, 0, dst, block)
        for block in range(num_blocks)
        for dst in range(1, num_members)
    )


def tree(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of FaaSNet's binary tree, one send per member and tick; 2(b − 1) + depth ticks.

    A member passes a block to its first child in the next tick and to its second one in the tick after,
    so it takes a new block every second tick (the system keeps that beat where a second child is
    missing, too). A single receiver needs no beat: b ticks.

    >>> [(tick, src, dst, block) for tick, src, dst, block in tree(num_members=4, num_blocks=1)]
    [(1, 0, 1, 0), (2, 1, 2, 0), (2, 0, 3, 0)]
    """
    parents = tree_parents(num_members)
    first = [0] * num_members  # the tick in which block 0 arrives
    links = []
    for member, parent in enumerate(parents, start=1):
        first[member] = first[parent] + 1 + (parent in parents[: member - 1])
        links.append((parent, member))
    beat = 1 if num_members == 2 else 2
    return _in_order(
        Transfer(first[dst] + beat * block, src, dst, block)
        for src, dst in links
        for block in range(num_blocks)
    )


def tree_parents(num_members: int) -> tuple[int, ...]:
    """Return the parents of members 1 … L − 1, each member with two children at most.

    Level by level: each member of the last level gets a first child and, if it is itself a first child,
    its parent gets its second one; so the members of a level get block 0 in the same tick. The parents
    for 12 members are those of the authors' tree.

    >>> tree_parents(12)
    (0, 1, 0, 2, 1, 3, 4, 2, 5, 6, 3)
    """
    return tuple(islice(_grow(), num_members - 1))


def _grow() -> Iterator[int]:
    """Yield the parent of member 1, of member 2, and so on without end."""
    numbers = count(1)
    level: list[tuple[int, int | None]] = [(0, None)]  # with the parent of each first child
    while True:
        below: list[tuple[int, int | None]] = []
        for member, parent in level:
            yield member
            below.append((next(numbers), member))
            if parent is not None:
                yield parent
                below.append((next(numbers), None))
        level = below


def _in_order(transfers: Iterable[Transfer]) -> tuple[Transfer, ...]:
    return tuple(sorted(transfers, key=lambda transfer: transfer.tick))
