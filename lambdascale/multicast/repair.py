"""Complete a multicast from whatever is left of it: some nodes dead, some slow, some half full.

The surviving ownership is the whole state; no byte is sent twice to one node. With a full copy among the
fast survivors the repair is at most as long as the round-optimal broadcast from it, b − 1 + ⌈log2 S⌉ ticks
for S of them. Without one the rarest-first plan has kept the same bound in every case tried (no proof).
"""

from collections.abc import Collection, Mapping, Sequence

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.multicast.circulant import circulant
from lambdascale.multicast.rarest import rarest_first
from lambdascale.multicast.schedule import Repair, Transfer
from lambdascale.multicast.spare import feed_slow

NO_SLOW: Mapping[int, float] = {}
NOTHING: Mapping[int, Collection[int]] = {}


def repair(
    held: Sequence[Collection[int]],
    num_blocks: int,
    dead: Collection[int] = (),
    slow: Mapping[int, float] = NO_SLOW,
    coming: Mapping[int, Collection[int]] = NOTHING,
) -> Repair:
    """Plan what must still be sent, given that node i holds blocks `held[i]`, until all survivors are full.

    `slow` gives the ticks per block of slow survivors (≥ 1): they are fed by idle ports, send only what
    nobody else has, and are not counted in the bound. Of `held`, blocks that are still `coming` to a node are
    not sent on by it, as nobody knows when; they keep no bound. ScheduleError names the blocks that are lost;
    ConfigError a value that cannot work.

    >>> todo = repair([{0, 1}, {0, 1}, {1}, set()], num_blocks=2, dead=[0])
    >>> for tick, src, dst, block in todo.transfers:
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 1 -> 2 block 0
    tick 1: 2 -> 3 block 1
    tick 2: 1 -> 3 block 0
    """
    _check(held, num_blocks, dead, slow)
    kept = tuple(frozenset() if node in dead else frozenset(h) for node, h in enumerate(held))
    survivors = tuple(node for node in range(len(held)) if node not in dead)
    _check_nothing_is_lost(kept, num_blocks)
    masks = [sum(1 << block for block in blocks) for blocks in kept]
    withheld = {node: sum(1 << block for block in blocks) for node, blocks in coming.items()}
    transfers = _plan(masks, num_blocks, survivors, slow, withheld)
    return Repair(len(held), num_blocks, survivors, kept, tuple(transfers))


def _plan(
    masks: Sequence[int],
    num_blocks: int,
    survivors: Sequence[int],
    slow: Mapping[int, float],
    withheld: Mapping[int, int],
) -> list[Transfer]:
    periods = {node: period for node, period in slow.items() if node in survivors}
    fast = [node for node in survivors if node not in periods]
    if not fast:  # nobody to protect from the slow
        fast, periods = list(survivors), {}
    plans = [rarest_first(masks, num_blocks, fast, list(periods), withheld)]
    full_copies = [node for node in fast if masks[node] == (1 << num_blocks) - 1]
    if full_copies and not withheld:
        plans.append(_from_full_copy(masks, num_blocks, full_copies[0], fast))
    shortest = min(plans, key=lambda plan: max((t.tick for t in plan), default=0))
    ready = [
        mask if node in periods else mask & ~withheld.get(node, 0)
        for node, mask in enumerate(masks)
    ]
    return feed_slow(ready, shortest, periods)


def _from_full_copy(
    masks: Sequence[int], num_blocks: int, root: int, fast: Sequence[int]
) -> list[Transfer]:
    """The round-optimal broadcast without what is there already, each transfer as early as it can be."""
    members = [root, *(node for node in fast if node != root)]
    if len(members) < 2:
        return []
    return _earlier(
        [
            Transfer(tick, members[src], members[dst], block)
            for tick, src, dst, block in circulant(len(members), num_blocks)
            if not masks[members[dst]] >> block & 1
        ]
    )


def _earlier(transfers: Sequence[Transfer]) -> list[Transfer]:
    """Move each transfer, in order, to the first tick in which its block and both its ports are there."""
    arrived: dict[tuple[int, int], int] = {}
    sending: set[tuple[int, int]] = set()
    receiving: set[tuple[int, int]] = set()
    moved = []
    for _, src, dst, block in transfers:
        tick = arrived.get((src, block), 0) + 1
        while (tick, src) in sending or (tick, dst) in receiving:
            tick += 1
        arrived[dst, block] = tick
        sending.add((tick, src))
        receiving.add((tick, dst))
        moved.append(Transfer(tick, src, dst, block))
    return sorted(moved, key=lambda transfer: transfer.tick)


def _check(
    held: Sequence[Collection[int]],
    num_blocks: int,
    dead: Collection[int],
    slow: Mapping[int, float],
) -> None:
    if num_blocks < 1:
        raise ConfigError(f"blocks is {num_blocks}; use at least one")
    for node in (*dead, *slow):
        if not 0 <= node < len(held):
            raise ConfigError(f"node {node} is dead or slow, but nodes are 0 to {len(held) - 1}")
    for node, blocks in enumerate(held):
        for block in blocks:
            if not 0 <= block < num_blocks:
                raise ConfigError(
                    f"node {node} holds block {block}; blocks are 0 to {num_blocks - 1}"
                )
    for node, period in slow.items():
        if not period >= 1:
            raise ConfigError(f"slow node {node} takes {period} ticks per block; at least 1")


def _check_nothing_is_lost(kept: Sequence[frozenset[int]], num_blocks: int) -> None:
    lost = sorted(set(range(num_blocks)).difference(*kept))
    if lost:
        raise ScheduleError(
            f"blocks {', '.join(map(str, lost))} survive on no node; load them from storage again"
        )
