"""What the symbolic engine knows of a model before it has memory: sizes of its rows and its KV cache."""

import json
from dataclasses import dataclass

from lambdascale.engine.base import EngineLimits, RowWidths
from lambdascale.engine.kv import KvLayout
from lambdascale.model.layout import DTYPE_BYTES, ImageLayout
from lambdascale.model.shape import ModelShape

STATE_NBYTES = 8  # of a row that carries nothing but its meaning


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model and the room for its sequences; the KV region is as large as the real engine's."""

    layout: ImageLayout
    limits: EngineLimits
    vocab: int
    widths: RowWidths
    kv: KvLayout

    @classmethod
    def of(
        cls, layout: ImageLayout, config: str, limits: EngineLimits, wide_rows: bool
    ) -> "Prepared":
        """Read the sizes; with `wide_rows` rows are as long as the real model's. Raises ModelError."""
        shape = ModelShape.from_config(json.loads(config))
        width = DTYPE_BYTES[layout.dtype] if wide_rows else 0
        final = shape.hidden if layout.tied else shape.vocab
        widths = (max(STATE_NBYTES, width * length) for length in (shape.hidden, final))
        kv = KvLayout(
            num_layers=layout.num_layers,
            planes=1,
            max_slots=limits.max_slots,
            heads=1,
            max_length=limits.max_length,
            cell_nbytes=shape.kv_bytes_per_token(layout.dtype) // layout.num_layers,
        )
        return cls(layout, limits, shape.vocab, RowWidths(*widths), kv)
