"""Llama-2 7B, 13B and 70B as configurations: the models of the paper's evaluation (paper.md g).

For plans and simulation only: they have a shape and no weights. The sizes are those of the published
models; in float16 the images are as long as the paper's (paper.md b.3). `llama-2-7b#3` is a fine-tuned copy:
the same shape, other contents.
"""

from collections.abc import Mapping

from lambdascale.errors import ModelError
from lambdascale.model.shape import ModelShape

_LLAMA_2: Mapping[str, object] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}


def _llama_2(layers: int, hidden: int, inner: int, heads: int, kv_heads: int) -> dict[str, object]:
    return {
        **_LLAMA_2,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


NOMINAL: Mapping[str, Mapping[str, object]] = {
    "llama-2-7b": _llama_2(layers=32, hidden=4096, inner=11008, heads=32, kv_heads=32),
    "llama-2-13b": _llama_2(layers=40, hidden=5120, inner=13824, heads=40, kv_heads=40),
    "llama-2-70b": _llama_2(layers=80, hidden=8192, inner=28672, heads=64, kv_heads=8),
}


def nominal_config(name: str) -> Mapping[str, object]:
    """Return the configuration of a nominal model or copy; raises ModelError for an unknown name."""
    if not is_nominal(name):
        known = ", ".join(NOMINAL)
        raise ModelError(f"model {name!r} has no nominal shape; use one of {known}")
    return NOMINAL[name.partition("#")[0]]


def nominal_shape(name: str) -> ModelShape:
    """Return the shape of a nominal model or copy; raises ModelError for an unknown name."""
    return ModelShape.from_config(nominal_config(name))


def is_nominal(name: str) -> bool:
    """Is this a nominal model, or a fine-tuned copy of one?

    >>> is_nominal("llama-2-7b#3"), is_nominal("smollm2-135m")
    (True, False)
    """
    return name.partition("#")[0] in NOMINAL


def fine_tuned(name: str, count: int) -> tuple[str, ...]:
    """Return the names of `count` fine-tuned copies of a nominal model.

    >>> fine_tuned("llama-2-7b", 2)
    ('llama-2-7b#1', 'llama-2-7b#2')
    """
    return tuple(f"{name}#{number}" for number in range(1, count + 1))
