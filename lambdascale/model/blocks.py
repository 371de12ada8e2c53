"""Transfer blocks: b equal byte ranges of the image, which may cut a tensor (architecture.md, "Units").

Transfer units and execution units differ; `BlockMap` is the only place that relates the two.
"""

from collections.abc import Collection
from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.model.layout import ALIGNMENT, ImageLayout


@dataclass(frozen=True, slots=True)
class BlockMap:
    """The image cut into `num_blocks` ranges; block i is bytes [offsets[i], offsets[i + 1])."""

    offsets: tuple[int, ...]
    part_blocks: tuple[range, ...]

    @classmethod
    def of(cls, layout: ImageLayout, num_blocks: int) -> "BlockMap":
        """Cut `layout` into `num_blocks` ranges, equal up to the alignment."""
        if num_blocks < 1:
            raise ConfigError(f"blocks is {num_blocks}; a model needs at least one block")
        lines = -(-layout.nbytes // ALIGNMENT)
        cuts = (i * lines // num_blocks * ALIGNMENT for i in range(num_blocks))
        offsets = (*cuts, layout.nbytes)
        parts = zip(layout.part_offsets, layout.part_offsets[1:], strict=False)
        return cls(offsets, tuple(_touched(offsets, low, high) for low, high in parts))

    @property
    def num_blocks(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_parts(self) -> int:
        return len(self.part_blocks)

    def span(self, block: int) -> tuple[int, int]:
        """Return (offset, nbytes) of `block` in the image."""
        return self.offsets[block], self.offsets[block + 1] - self.offsets[block]

    def runnable(self, blocks: Collection[int]) -> frozenset[int]:
        """Return the parts whose every block is in `blocks`."""
        held = frozenset(blocks)
        return frozenset(p for p, needed in enumerate(self.part_blocks) if held.issuperset(needed))


def _touched(offsets: tuple[int, ...], low: int, high: int) -> range:
    """The blocks that bytes [low, high) touch; none if the range is empty."""
    touched = [i for i in range(len(offsets) - 1) if offsets[i] < high and low < offsets[i + 1]]
    return range(touched[0], touched[-1] + 1) if low < high else range(0)
