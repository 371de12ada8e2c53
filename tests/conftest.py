"""Shared fixtures: tiny random-weight models of every architecture, and the catalogued real one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from lambdascale.model.catalogue import load_packed
from lambdascale.model.packed import PackedModel

TinyModel = Callable[..., Path]

TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 256,
    "pad_token_id": 256,
}


@pytest.fixture(scope="session", autouse=True)
def one_compute_thread() -> None:
    """Several processes of two threads each on two cores are many times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Make Hugging Face folders: `tiny_model(arch, tied=False, sharded=False, **config) -> Path`.

    Weights are random with a fixed seed and large enough that the greedy token is clear; the tokenizer
    knows bytes only. The same arguments give the same folder; copy it before you damage it.
    """
    made: dict[object, Path] = {}

    def make(arch: str, tied: bool = False, sharded: bool = False, **config: Any) -> Path:
        key = (arch, tied, sharded, *sorted(config.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"tiny-{arch}")
            settings = TINY | {"tie_word_embeddings": tied} | config
            model = random_model(AutoConfig.for_model(arch, **settings))
            shard = "200KB" if sharded else "50GB"
            model.save_pretrained(made[key], max_shard_size=shard)
            byte_tokenizer().save_pretrained(made[key])
        return made[key]

    return make


@pytest.fixture(scope="session")
def smollm2() -> PackedModel:
    """The catalogued model packed as float32, in the user's cache; fetched when absent."""
    return load_packed("smollm2-135m", "float32")


def random_model(config: Any) -> Any:
    """A model whose rows keep their size through the layers and whose logits spread widely."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                parameter.copy_(noise * 2 / parameter.shape[1] ** 0.5)
            else:
                parameter.add_(noise * 0.2)
    return model


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Ids 0 … 255 are bytes, 256 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
