"""Several independent broadcasts of parts of the model, taking turns (beyond the paper).

A relay passes a block on in the tick after it came, so with a latency L per write every tick of one
broadcast lasts L longer than the write. Here m broadcasts of b/m blocks take every m-th tick each: while
a block of one is under way the ports work for the others. The trees differ: broadcast p turns the
receivers round by p ÷ m of their number, so that those early in one are late in another.
"""

from collections.abc import Callable

from lambdascale.multicast.circulant import circulant
from lambdascale.multicast.schedule import Transfer

PARTS = 2


def interleaved(
    num_members: int,
    num_blocks: int,
    num_parts: int = PARTS,
    base: Callable[[int, int], tuple[Transfer, ...]] = circulant,
) -> tuple[Transfer, ...]:
    """Return the transfers of `num_parts` broadcasts; part p sends blocks p, p + m, p + 2m, ….

    Takes m·(⌈b/m⌉ + ⌈log2 L⌉ − 1) ticks at most. Any `base` will do; its port limits are kept.

    >>> for tick, src, dst, block in interleaved(num_members=4, num_blocks=2):
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 0 -> 1 block 0
    tick 2: 0 -> 2 block 1
    tick 3: 0 -> 2 block 0
    tick 3: 1 -> 3 block 0
    tick 4: 0 -> 3 block 1
    tick 4: 2 -> 1 block 1
    """
    parts = min(num_parts, num_blocks)
    receivers = num_members - 1
    transfers: list[Transfer] = []
    for part in range(parts):
        turn = part * receivers // parts
        members = (0, *(1 + (turn + at) % receivers for at in range(receivers)))
        transfers += [
            Transfer((tick - 1) * parts + part + 1, members[src], members[dst], at * parts + part)
            for tick, src, dst, at in base(num_members, len(range(part, num_blocks, parts)))
        ]
    return tuple(sorted(transfers, key=lambda transfer: transfer.tick))
