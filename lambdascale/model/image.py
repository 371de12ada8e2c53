"""What agents must know of a model before its first byte: where its image lies, its layout, its checksums."""

import json
from dataclasses import dataclass
from functools import cached_property

from lambdascale.model.blocks import BlockMap
from lambdascale.model.layout import ImageLayout
from lambdascale.model.packed import PackedModel
from lambdascale.model.shape import ModelShape


@dataclass(frozen=True)
class ImageSource:
    """A packed model: its image file, Hugging Face configuration as text, layout and block checksums."""

    path: str
    config: str
    layout: ImageLayout
    checksums: tuple[int, ...]

    @classmethod
    def of(cls, packed: PackedModel, checksums: tuple[int, ...]) -> "ImageSource":
        """Describe a packed model whose blocks have these checksums."""
        return cls(str(packed.image), packed.config, packed.layout, checksums)

    @cached_property
    def shape(self) -> ModelShape:
        """The model's shape, as its configuration has it."""
        return ModelShape.from_config(json.loads(self.config))

    @cached_property
    def blocks(self) -> BlockMap:
        """The image cut into as many blocks as there are checksums."""
        return BlockMap.of(self.layout, len(self.checksums))
