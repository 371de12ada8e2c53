"""Models that have a shape and a layout but no weights, for runs in virtual time.

They are ordinary `PackedModel`s whose image file does not exist: the simulated storage knows what it
would contain. Sized like the paper's (paper.md b.3) or as small as a test wants.
"""

import json
from pathlib import Path

from lambdascale.model.blocks import BlockMap
from lambdascale.model.catalogue import load_packed
from lambdascale.model.nominal import is_nominal, nominal_config, nominal_shape
from lambdascale.model.packed import PackedModel
from lambdascale.model.shape import ModelShape
from lambdascale.sim.content import put_image
from lambdascale.sim.regions import new_region


def nominal_model(model: str, dtype: str = "float16") -> PackedModel:
    """Return a model of the paper's evaluation, or a copy; ModelError for an unknown name."""
    return _unpacked(model, nominal_shape(model), json.dumps(dict(nominal_config(model))), dtype)


def simulated_model(model: str, dtype: str) -> PackedModel:
    """Return a model of the paper, which has no weights, or one that is really there."""
    return nominal_model(model, dtype) if is_nominal(model) else load_packed(model, dtype)


def symbolic_model(
    num_layers: int = 4,
    hidden: int = 16,
    vocab: int = 1000,
    tied: bool = True,
    dtype: str = "float32",
) -> PackedModel:
    """Return a Llama small enough to be hashed at every step."""
    config = {
        "model_type": "llama",
        "num_hidden_layers": num_layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_attention_heads": 1,
        "vocab_size": vocab,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": tied,
    }
    name = f"symbolic-{num_layers}x{hidden}"
    return _unpacked(name, ModelShape.from_config(config), json.dumps(config), dtype)


def image_checksums(
    model: PackedModel, num_blocks: int, sized_above: int | None = None
) -> tuple[int, ...]:
    """Return what the blocks of an image that does not exist have for checksums.

    `sized_above` is that of the transport whose regions will hold them.
    """
    region = new_region(0, model.layout.nbytes, sized_above)
    put_image(model.image, 0, region, 0, region.nbytes)
    blocks = BlockMap.of(model.layout, num_blocks)
    return tuple(region.fingerprint(*blocks.span(i)) for i in range(num_blocks))


def _unpacked(model: str, shape: ModelShape, config: str, dtype: str) -> PackedModel:
    folder = Path("unpacked") / model
    image = folder / f"{dtype}.image"
    return PackedModel(shape.layout(model, dtype), image, config, folder)
