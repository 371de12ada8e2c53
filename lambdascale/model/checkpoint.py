"""Packs a local Hugging Face safetensors folder into one image file (paper.md e, "tensor packing").

An image is kept in the cache under the identity of its source and its dtype: a second `pack` of the
same source only looks it up, and two processes that pack at once both end with a whole image.
"""

import json
from pathlib import Path

from lambdascale.model.cache import discard, published
from lambdascale.model.packed import PackedModel
from lambdascale.model.shape import ModelShape
from lambdascale.model.source import identity, read_config


def pack(folder: Path, name: str, dtype: str, cache: Path) -> PackedModel:
    """Return the image of the checkpoint in `folder`, packed now unless `cache` has it.

    Raises ModelError if the checkpoint is missing, truncated, of an unsupported architecture, or does
    not hold the tensors that its configuration asks for.
    """
    config = read_config(folder)
    layout = ModelShape.from_config(json.loads(config)).layout(name, dtype)
    target = cache / "images" / f"{name}-{dtype}-{identity(folder, layout)}"
    packed = PackedModel(layout, target / "image.bin", config, folder)
    if not _present(packed):
        from lambdascale.model.writer import write_image

        discard(target)
        with published(target) as scratch:
            write_image(folder, layout, scratch / packed.image.name)
    return packed


def _present(packed: PackedModel) -> bool:
    return packed.image.is_file() and packed.image.stat().st_size == packed.layout.nbytes
