"""A small real checkpoint of random weights, made on the spot: for experiments that are about time.

Its image takes a link as long as a large model's would at a higher rate, and its steps leave the cores of
one machine to many emulated devices. What it says means nothing; that it says the same everywhere does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel
from lambdascale.model.shape import ModelShape

if TYPE_CHECKING:
    import torch

NAME = "small-llama"
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
}
DTYPE = "float32"
SEED = 7


@contextmanager
def small_model() -> Iterator[PackedModel]:
    """Make the checkpoint (18 MB) and its image in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="lambdascale-model-") as scratch:
        folder = Path(scratch, NAME)
        write_checkpoint(folder)
        yield load_packed(str(folder), DTYPE, Path(scratch, "cache"))


def write_checkpoint(folder: Path) -> None:
    """Write configuration and weights as a Hugging Face folder; the same bytes each time."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    generator = torch.Generator().manual_seed(SEED)
    save_file(
        {
            tensor.name: _weights(tensor.shape, generator)
            for tensor in ModelShape.from_config(CONFIG).layout(NAME, DTYPE).tensors
        },
        folder / "model.safetensors",
    )


def _weights(shape: tuple[int, ...], generator: "torch.Generator") -> "torch.Tensor":
    """Rows keep their size through the layers, and logits spread widely."""
    import torch

    noise = torch.randn(shape, generator=generator)
    return noise * 2 / shape[1] ** 0.5 if len(shape) == 2 else 1 + noise * 0.2
