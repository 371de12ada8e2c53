"""Round-optimal broadcast for every L and b: b − 1 + ⌈log2 L⌉ rounds, one send and one receive per round.

In round i every member m talks to m ± skip[i mod q] (mod L), where q = ⌈log2 L⌉, skip[q] = L and skip[k] =
⌈skip[k + 1] ÷ 2⌉: a circulant graph, so no member is special and L need not be a power of two. What m gets
in round k of a phase of q rounds repeats from phase to phase, q blocks later each time; this page finds
those q numbers per member. The construction is J. L. Träff's (arXiv 2312.11236); the code is ours.
"""

from collections.abc import Iterator
from itertools import count

from lambdascale.multicast.schedule import Transfer


def circulant(num_members: int, num_blocks: int) -> tuple[Transfer, ...]:
    """Return the transfers of one broadcast from member 0; b − 1 + ⌈log2 L⌉ ticks.

    >>> for tick, src, dst, block in circulant(num_members=4, num_blocks=2):
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 0 -> 2 block 0
    tick 2: 0 -> 1 block 1
    tick 2: 2 -> 3 block 0
    tick 3: 3 -> 1 block 0
    tick 3: 0 -> 2 block 1
    tick 3: 1 -> 3 block 1
    """
    skips = skips_of(num_members)
    num_rounds = len(skips) - 1
    patterns = [receive_pattern(member, skips) for member in range(1, num_members)]
    num_ticks = num_blocks - 1 + num_rounds
    idle = -num_ticks % num_rounds  # leading rounds of the first phase that are left out
    held = [0] * num_members
    transfers: list[Transfer] = []
    for tick, (phase, k) in zip(range(1, num_ticks + 1), _rounds(idle, num_rounds), strict=False):
        shift = phase * num_rounds - idle
        for dst, pattern in enumerate(patterns, start=1):
            block = min(pattern[k] + shift, num_blocks - 1)
            if block >= 0 and not held[dst] >> block & 1:
                held[dst] |= 1 << block
                transfers.append(Transfer(tick, (dst - skips[k]) % num_members, dst, block))
    return tuple(transfers)


def _rounds(first: int, num_rounds: int) -> Iterator[tuple[int, int]]:
    """Yield (phase, round within the phase) from round `first` on."""
    return (divmod(i, num_rounds) for i in count(first))


def skips_of(num_members: int) -> tuple[int, ...]:
    """Return skip[0] … skip[q]: 1, …, ⌈L ÷ 2⌉, L.

    >>> skips_of(12)
    (1, 2, 3, 6, 12)
    """
    skips = [num_members]
    while skips[-1] > 1:
        skips.append((skips[-1] + 1) // 2)
    return tuple(reversed(skips))


def receive_pattern(member: int, skips: tuple[int, ...]) -> tuple[int, ...]:
    """Return which block `member` gets in each round of a phase, counted from the phase's first block.

    One number is the member's own: the round k of this phase whose block reaches it before the phase is
    over. The others are −1 … −q without k − q: blocks of the phase before. So q successive rounds bring
    q different blocks, and each of them the sender holds.

    >>> receive_pattern(1, skips_of(4)), receive_pattern(3, skips_of(4))
    ((0, -1), (-1, 0))
    """
    return _Search(member, skips).pattern()


class _Search:
    """Depth-first search for the blocks that come to one member, round by round.

    A block e starts in round e of its phase, so a member whose number is a sum of skips, the smallest of
    them skip[e], can have it in that phase. For round k the search wants such a sum between the senders
    to this member in rounds k + 1 and k (the numbers are taken one turn further, L + member, so that
    none is negative). The sums fall as k grows and no e is taken twice: the blocks differ.
    """

    def __init__(self, member: int, skips: tuple[int, ...]) -> None:
        self._skips = skips
        self._target = skips[-1] + member
        self._own = _smallest_skip(member, skips)
        self._taken = [e == self._own for e in range(len(skips))]
        self._found: list[int] = []

    def pattern(self) -> tuple[int, ...]:
        num_rounds = len(self._skips) - 1
        self._extend(0, 2 * self._skips[-1], num_rounds)
        return tuple(self._own if e == num_rounds else e - num_rounds for e in self._found)

    def _extend(self, partial: int, below: int, largest: int) -> None:
        """Take sums `partial` + skip[e] < `below`, e ≤ `largest`, as long as they are right for a round."""
        for e in range(largest, -1, -1):
            total = partial + self._skips[e]
            if self._taken[e] or total >= below or total > self._sender(0):
                continue
            if total <= self._sender(1):
                self._extend(total, below, e - 1)
            if self._done or partial > self._sender(1):
                return
            below = total
            self._taken[e] = True
            self._found.append(e)
            if self._done:
                return

    @property
    def _done(self) -> bool:
        return len(self._found) == len(self._skips) - 1

    def _sender(self, ahead: int) -> int:
        """Who sends to this member in the next round to fill (0) or in the one after it (1)."""
        return self._target - self._skips[len(self._found) + ahead]


def _smallest_skip(member: int, skips: tuple[int, ...]) -> int:
    """Return e, where skip[e] is the last term if `member` is written greedily as a sum of skips."""
    for e in range(len(skips) - 1, -1, -1):
        if skips[e] <= member:
            member -= skips[e]
            if not member:
                return e
    raise ValueError(f"member {member} has no skips; the source gets nothing")
