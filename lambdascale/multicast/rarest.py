"""From any ownership of blocks to everything everywhere, tick by tick: the rarest blocks first.

Each tick: blocks with the fewest holders travel first, from as many of those as are free, to the nodes
that lack most; whoever is still without a block then gets one if any rearrangement of the pairs allows it
(a maximum matching), so no port idles that could work. Blocks are bits of an int here.
"""

from collections.abc import Mapping, Sequence

from lambdascale.multicast.schedule import Transfer

Pairs = dict[int, tuple[int, int]]  # receiver → (sender, block)
NOTHING: Mapping[int, int] = {}


def bits_of(mask: int) -> list[int]:
    """Return the blocks in a mask, lowest first.

    >>> bits_of(0b1101)
    [0, 2, 3]
    """
    blocks = []
    while mask:
        lowest = mask & -mask
        blocks.append(lowest.bit_length() - 1)
        mask ^= lowest
    return blocks


def rarest_first(
    owned: Sequence[int],
    num_blocks: int,
    receivers: Sequence[int],
    reluctant: Sequence[int] = (),
    withheld: Mapping[int, int] = NOTHING,
) -> list[Transfer]:
    """Return transfers, in tick order, until all `receivers` own everything; some node owns each block.

    A node sends and receives at most one block per tick. A `reluctant` node sends only what no other
    node has; nobody sends what is `withheld` there. `owned` is per node the mask of its blocks.

    >>> rarest_first([0b01, 0b10], num_blocks=2, receivers=[0, 1])
    [Transfer(tick=1, src=1, dst=0, block=1), Transfer(tick=1, src=0, dst=1, block=0)]
    """
    held = list(owned)
    full = (1 << num_blocks) - 1
    transfers: list[Transfer] = []
    tick = 0
    while any(held[node] != full for node in receivers):
        tick += 1
        pairs = _Tick(held, num_blocks, receivers, reluctant, withheld).pairs()
        moves = [Transfer(tick, src, dst, block) for dst, (src, block) in sorted(pairs.items())]
        for _, _, dst, block in moves:
            held[dst] |= 1 << block
        transfers += moves
    return transfers


class _Tick:
    """Who sends which block to whom in one tick."""

    def __init__(
        self,
        held: list[int],
        num_blocks: int,
        receivers: Sequence[int],
        reluctant: Sequence[int],
        withheld: Mapping[int, int],
    ) -> None:
        full = (1 << num_blocks) - 1
        common = 0
        self.held = held
        ready = [mask & ~withheld.get(node, 0) for node, mask in enumerate(held)]
        for node, mask in enumerate(ready):
            common |= 0 if node in reluctant else mask
        offers = [m & ~common if node in reluctant else m for node, m in enumerate(ready)]
        self.offers = {node: offer for node, offer in enumerate(offers) if offer}
        self.open = sorted(
            (node for node in receivers if held[node] != full),
            key=lambda node: held[node].bit_count(),
        )
        self.holders: list[list[int]] = [[] for _ in range(num_blocks)]
        for node in sorted(self.offers, key=lambda node: self.offers[node].bit_count()):
            for block in bits_of(self.offers[node]):
                self.holders[block].append(node)

    def pairs(self) -> Pairs:
        pairs = self._by_rarity()
        sources = {dst: src for dst, (src, _) in pairs.items()}
        targets = {src: dst for dst, src in sources.items()}
        for dst in self.open:
            if dst not in sources:
                self._augment(dst, sources, targets)
        return {
            dst: pairs[dst] if pairs.get(dst, (-1,))[0] == src else (src, self._rarest(src, dst))
            for dst, src in sources.items()
        }

    def _by_rarity(self) -> Pairs:
        pairs: Pairs = {}
        busy: set[int] = set()
        for block in sorted(range(len(self.holders)), key=lambda block: len(self.holders[block])):
            free = [node for node in self.holders[block] if node not in busy]
            wanting = [n for n in self.open if n not in pairs and not self.held[n] >> block & 1]
            for src, dst in zip(free, wanting, strict=False):
                pairs[dst] = (src, block)
                busy.add(src)
        return pairs

    def _augment(self, dst: int, sources: dict[int, int], targets: dict[int, int]) -> None:
        """Find a sender for `dst`, if there is one when those taken may change theirs."""
        wanted_by: dict[int, int] = {}
        wanting = [dst]
        for node in wanting:  # grows
            for src, offer in self.offers.items():
                if src in wanted_by or not offer & ~self.held[node]:
                    continue
                wanted_by[src] = node
                if src not in targets:
                    _reassign(src, wanted_by, sources, targets)
                    return
                wanting.append(targets[src])

    def _rarest(self, src: int, dst: int) -> int:
        useful = bits_of(self.offers[src] & ~self.held[dst])
        return min(useful, key=lambda block: len(self.holders[block]))


def _reassign(
    src: int, wanted_by: dict[int, int], sources: dict[int, int], targets: dict[int, int]
) -> None:
    """Give `src` to who wants it, the sender that this one had to who wants that, and so on."""
    released: int | None = src
    while released is not None:
        src, dst = released, wanted_by[released]
        released = sources.get(dst)
        sources[dst], targets[src] = src, dst
