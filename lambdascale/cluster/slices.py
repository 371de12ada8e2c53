"""How a model lies on the nodes of one instance: contiguous parts and the blocks they touch (paper.md c.9).

Decisions are taken over *instances*, each named by its first node; this is where they become nodes. With
one node per instance nothing changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lambdascale.errors import ConfigError
from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.multicast.schedule import Transfer
from lambdascale.pipeline.stages import Stage


@dataclass(frozen=True, slots=True)
class Slices:
    """Per position in the instance: its parts, and the blocks of which it needs any byte."""

    parts: tuple[range, ...]
    blocks: tuple[range, ...]

    @classmethod
    def of(cls, layout: ImageLayout, blocks: BlockMap, num_nodes: int) -> "Slices":
        """Cut the parts into `num_nodes` runs of about equal bytes; ConfigError if there are too few."""
        if num_nodes > layout.num_parts:
            raise ConfigError(
                f"{layout.model} has {layout.num_parts} parts; it cannot span {num_nodes} nodes"
            )
        cuts = _cuts(layout, num_nodes)
        parts = tuple(range(a, b) for a, b in pairwise(cuts))
        touched = [[b for p in own for b in blocks.part_blocks[p]] for own in parts]
        return cls(parts, tuple(range(min(own), max(own) + 1) for own in touched))

    @property
    def num_nodes(self) -> int:
        return len(self.parts)

    def nodes(self, instance: int) -> range:
        """Return the nodes of an instance."""
        return range(instance, instance + self.num_nodes)

    def instance(self, node: int) -> int:
        """Return the instance that `node` can be part of."""
        return node - self.position(node)

    def position(self, node: int) -> int:
        """Return the place of `node` in its instance."""
        return node % self.num_nodes

    def span(self, position: int, blocks: BlockMap) -> tuple[int, int]:
        """Return (offset, nbytes) of the image that the node at `position` holds."""
        own = self.blocks[position]
        offset, end = blocks.offsets[own.start], blocks.offsets[own.stop]
        return offset, end - offset

    def largest(self, blocks: BlockMap) -> int:
        """Return the bytes of the largest slice."""
        return max(self.span(position, blocks)[1] for position in range(self.num_nodes))

    def transfers(self, transfers: Iterable[Transfer]) -> list[Transfer]:
        """Put nodes for instances: each node sends its blocks to its like."""
        return [
            Transfer(tick, src + at, dst + at, block)
            for tick, src, dst, block in transfers
            for at in range(self.num_nodes)
            if block in self.blocks[at]
        ]

    def stages(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """Put nodes for instances, each running its own parts of a stage."""
        return tuple(
            Stage(stage.node + at, max(stage.first, own.start), min(stage.stop, own.stop))
            for stage in stages
            for at, own in enumerate(self.parts)
            if max(stage.first, own.start) < min(stage.stop, own.stop)
        )


def _cuts(layout: ImageLayout, num_nodes: int) -> list[int]:
    """Part numbers where the slices begin; each slice has at least one part."""
    cuts = [0]
    for i in range(1, num_nodes):
        goal = layout.nbytes * i / num_nodes
        low, high = cuts[-1] + 1, layout.num_parts - (num_nodes - i)
        nearest = min(range(low, high + 1), key=lambda p: abs(layout.part_offsets[p] - goal))
        cuts.append(nearest)
    return [*cuts, layout.num_parts]
