"""Tiny random-weight models, made by the tests: their configuration, weights and tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

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


def save_tiny(folder: Path, arch: str, tied: bool, sharded: bool, **config: Any) -> None:
    """Make a Hugging Face folder with weights and a tokenizer."""
    settings = TINY | {"tie_word_embeddings": tied} | config
    model = random_model(AutoConfig.for_model(arch, **settings))
    model.save_pretrained(folder, max_shard_size="200KB" if sharded else "50GB")
    byte_tokenizer().save_pretrained(folder)
