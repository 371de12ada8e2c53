"""The binomial pipeline: one source sends b blocks to L − 1 receivers (paper.md c.4).

Members and blocks are positions here: member 0 is the source, and block 0 is what it sends first. `plan`
maps positions to the nodes of a sub-group and to its block order. L members stand on a hypercube of
V = 2^⌊log2 L⌋ vertices (Ganesan & Seshadri 2005); the L − V extra members double vertices 1 … L − V, and
the two members of a doubled vertex act as one logical node that owns the union of their blocks.
"""

from collections.abc import Iterator
from typing import NamedTuple

from lambdascale.multicast.schedule import Transfer

Vertex = tuple[int, ...]  # its members: one, or two if the vertex is doubled


class _Offer(NamedTuple):
    """What a vertex does in one tick: `sender` gives `block` away (−1: nothing), `receiver` is given to."""

    sender: int
    receiver: int
    block: int


def binomial(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of one binomial pipeline; b + ⌈log2 L⌉ − 1 ticks for L members and b blocks.

    A member sends at most one block per tick. It receives at most one when L is a power of two, else two.

    >>> for tick, src, dst, block in binomial(num_members=4, num_blocks=2):
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 0 -> 2 block 0
    tick 2: 0 -> 1 block 1
    tick 2: 2 -> 3 block 0
    tick 3: 0 -> 2 block 1
    tick 3: 1 -> 3 block 1
    tick 3: 3 -> 1 block 0
    """
    dimensions = num_members.bit_length() - 1
    vertices = _vertices(num_members, 1 << dimensions)
    owned = [(1 << num_blocks) - 1, *[0] * (num_members - 1)]
    transfers: list[Transfer] = []
    for tick in range(1, num_blocks + dimensions + 1):
        offers = [_offer(vertex, owned, tick, num_blocks) for vertex in vertices]
        arriving = [0] * num_members
        for src, dst, block in _deliveries(vertices, offers, owned, 1 << tick % dimensions):
            if not (owned[dst] | arriving[dst]) >> block & 1:
                arriving[dst] |= 1 << block
                transfers.append(Transfer(tick, src, dst, block))
        owned = [held | new for held, new in zip(owned, arriving, strict=True)]
    return tuple(transfers)


def receives_per_tick(num_members: int) -> int:
    """The receive limit: one block per tick when L is a power of two, else two."""
    return 1 if num_members.bit_count() == 1 else 2


def _vertices(num_members: int, num_vertices: int) -> list[Vertex]:
    num_doubled = num_members - num_vertices
    doubled = [(x, x + num_vertices - 1) for x in range(1, num_doubled + 1)]
    single = [(x,) for x in range(num_doubled + 1, num_vertices)]
    return [(0,), *doubled, *single]


def _offer(vertex: Vertex, owned: list[int], tick: int, num_blocks: int) -> _Offer:
    """The source sends block after block; any other vertex the highest block that it owns."""
    if vertex[0] == 0:
        return _Offer(0, 0, min(tick, num_blocks) - 1)
    if len(vertex) == 1:
        return _Offer(vertex[0], vertex[0], owned[vertex[0]].bit_length() - 1)
    first, second = vertex
    if owned[first] >= owned[second]:  # so `first` owns the highest block of the two
        return _Offer(first, second, owned[first].bit_length() - 1)
    return _Offer(second, first, owned[second].bit_length() - 1)


def _deliveries(
    vertices: list[Vertex], offers: list[_Offer], owned: list[int], dimension: int
) -> Iterator[tuple[int, int, int]]:
    """Yield (src, dst, block) along `dimension` of the hypercube, then within each doubled vertex.

    The source needs nothing, so its partner uses the slot to level its own two members.
    """
    for x, offer in enumerate(offers):
        doubled = len(vertices[x]) == 2
        if x == dimension:  # the partner is the source
            if doubled:
                yield from _level(offer.sender, offer.receiver, owned)
        elif offer.block >= 0:
            yield offer.sender, offers[x ^ dimension].receiver, offer.block
        if doubled:
            yield from _level(offer.receiver, offer.sender, owned)


def _level(src: int, dst: int, owned: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield the lowest block that `src` has and `dst` lacks, if any."""
    lacking = owned[src] & ~owned[dst]
    if lacking:
        yield src, dst, (lacking & -lacking).bit_length() - 1
