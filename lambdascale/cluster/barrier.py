"""Barrier mode, for parity with the paper's system: a sub-group's tick starts when its last one is over.

Sub-groups do not wait for one another (paper.md c.4, "execution discipline").
"""

from collections import Counter
from collections.abc import Collection, Sequence

from lambdascale.multicast.schedule import Transfer

Opening = tuple[tuple[int, ...], int]  # (members, tick)


class Barrier:
    """Counts what each sub-group's current tick still waits for; blocks from elsewhere do not matter."""

    def __init__(self, subgroups: Sequence[tuple[int, ...]], transfers: Sequence[Transfer]) -> None:
        self._groups = subgroups
        group_of = {node: i for i, group in enumerate(self._groups) for node in group}
        self._key = {(t.dst, t.block): (group_of[t.dst], t.tick) for t in transfers}
        self._missing = Counter(self._key.values())
        self._tick = [1] * len(self._groups)

    def arrived(self, node: int, blocks: Collection[int]) -> list[Opening]:
        """Note arrivals; return the ticks that may start now."""
        for block in blocks:
            if (node, block) in self._key:
                self._missing[self._key.pop((node, block))] -= 1  # once, even if it comes twice
        return [opening for group in range(len(self._groups)) for opening in self._open(group)]

    def _open(self, group: int) -> list[Opening]:
        opened = []
        while self._missing.get((group, self._tick[group])) == 0:
            self._tick[group] += 1
            opened.append((self._groups[group], self._tick[group]))
        return opened
