"""ModelShape and its layout against the real modules of transformers, and against the paper's sizes."""

import json
from itertools import pairwise
from math import prod

import pytest
import torch
from tiny import TINY
from transformers import AutoConfig, AutoModelForCausalLM

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.layout import ALIGNMENT, DTYPE_BYTES
from lambdascale.model.nominal import NOMINAL, fine_tuned, is_nominal, nominal_shape
from lambdascale.model.shape import ARCHITECTURES, ModelShape

VARIANTS = [
    *((arch, {"tie_word_embeddings": tied}) for arch in ARCHITECTURES for tied in (False, True)),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True, "head_dim": None}),
    ("llama", {"num_key_value_heads": None}),
    ("qwen3", {"attention_bias": True, "head_dim": 32}),
    ("qwen2", {"head_dim": 32}),
    ("mistral", {"head_dim": None}),
]


def parameters(config):
    """Names and shapes of the parameters of the real model, a tied head left out."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


@pytest.mark.parametrize(("arch", "changes"), VARIANTS)
def test_the_layout_names_the_parameters_of_the_real_model(arch, changes):
    config = AutoConfig.for_model(arch, **(TINY | changes))
    layout = ModelShape.from_config(config.to_dict()).layout("tiny", "float32")
    assert {t.name: t.shape for t in layout.tensors} == parameters(config)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_keys_that_a_configuration_leaves_out_have_the_defaults_of_the_real_model(arch):
    left_out = ("num_key_value_heads", "head_dim")
    given = {"model_type": arch} | {k: v for k, v in TINY.items() if k not in left_out}
    given |= {"num_attention_heads": 32, "hidden_size": 128}
    layout = ModelShape.from_config(given).layout("tiny", "float32")
    real = AutoConfig.for_model(**given)
    assert {t.name: t.shape for t in layout.tensors} == parameters(real)


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
@pytest.mark.parametrize(("arch", "changes"), VARIANTS)
def test_tensors_lie_aligned_in_execution_order_without_overlap(arch, changes, dtype):
    shape = ModelShape.from_config({"model_type": arch} | TINY | changes)
    layout = shape.layout("tiny", dtype)
    assert layout.num_layers == shape.num_layers
    assert all(t.offset % ALIGNMENT == 0 for t in layout.tensors)
    assert all(t.nbytes == prod(t.shape) * DTYPE_BYTES[dtype] for t in layout.tensors)
    for before, after in pairwise(layout.tensors):
        assert 0 <= after.offset - before.offset - before.nbytes < ALIGNMENT
        assert before.part <= after.part
    for t in layout.tensors:
        low, high = layout.part_offsets[t.part], layout.part_offsets[t.part + 1]
        assert low <= t.offset
        assert t.offset + t.nbytes <= high


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_part_embeds_the_last_part_holds_norm_and_an_untied_head(tied):
    shape = ModelShape.from_config({"model_type": "llama"} | TINY | {"tie_word_embeddings": tied})
    layout = shape.layout("tiny", "float32")
    assert [t.name for t in layout.tensors if t.part == 0] == ["model.embed_tokens.weight"]
    last = [t.name for t in layout.tensors if t.part == layout.num_parts - 1]
    assert last == ["model.norm.weight"] + ["lm_head.weight"] * (not tied)
    assert layout.tied is tied


def test_matrices_that_share_their_input_lie_side_by_side():
    shape = ModelShape.from_config({"model_type": "qwen2"} | TINY)
    at = {
        t.name.removeprefix("model.layers.0."): t for t in shape.layout("tiny", "float32").tensors
    }
    for group in (("q", "k", "v"), ("gate", "up")):
        block = "mlp" if "up" in group else "self_attn"
        for one, other in pairwise(f"{block}.{name}_proj.weight" for name in group):
            assert at[one].offset + at[one].nbytes == at[other].offset


@pytest.mark.parametrize(
    ("name", "nbytes"),
    [
        ("llama-2-7b", 13_476_831_232),  # paper.md b.3
        ("llama-2-13b", 26_031_728_640),  # paper.md b.3
        ("llama-2-70b", 137_953_296_384),  # 2 bytes for each of the published model's parameters
    ],
)
def test_nominal_images_in_float16_are_exactly_as_long_as_the_papers(name, nbytes):
    assert nominal_shape(name).layout(name, "float16").nbytes == nbytes


def test_kv_and_flops_per_token_are_those_of_the_paper():
    mib = {name: nominal_shape(name).kv_bytes_per_token("float16") / 2**20 for name in NOMINAL}
    assert mib == {"llama-2-7b": 0.5, "llama-2-13b": 0.78125, "llama-2-70b": 0.3125}
    shape = nominal_shape("llama-2-7b")
    weights = shape.layout("llama-2-7b", "float16").nbytes // 2
    norms = (2 * shape.num_layers + 1) * shape.hidden
    assert shape.flops_per_token() == 2 * (weights - norms - shape.vocab * shape.hidden)
    more = shape.flops_per_token(context=100) - shape.flops_per_token()
    assert more == 4 * shape.num_layers * shape.hidden * 100


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model_type": "gpt2"},
            "'gpt2' is not supported; use one of llama, mistral, qwen2, qwen3",
        ),
        ({"model_type": None}, "not supported"),
        ({"hidden_size": "64"}, "hidden_size is '64'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(changes, words):
    with pytest.raises(ModelError, match=words) as caught:
        ModelShape.from_config({"model_type": "llama"} | TINY | changes)
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_or_nominal_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="bfloat16"):
        nominal_shape("llama-2-7b").layout("llama-2-7b", "int8")
    with pytest.raises(ModelError, match="llama-2-70b"):
        nominal_shape("llama-3-8b")


def test_a_shape_survives_the_text_of_a_saved_configuration(tiny_model):
    text = (tiny_model("qwen3", tied=True) / "config.json").read_text()
    shape = ModelShape.from_config(json.loads(text))
    assert (shape.model_type, shape.num_layers, shape.tied) == ("qwen3", 8, True)
    assert shape.context_length == TINY["max_position_embeddings"]


def test_a_fine_tuned_copy_has_the_shape_of_its_original():
    one, other = fine_tuned("llama-2-7b", 2)
    assert (one, other) == ("llama-2-7b#1", "llama-2-7b#2")
    assert nominal_shape(one) == nominal_shape("llama-2-7b")
    assert is_nominal(other)
    assert not is_nominal("smollm2-135m#1")
