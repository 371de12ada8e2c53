"""Packing local safetensors folders: every byte at its place, every damage named."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TINY
from transformers import AutoModelForCausalLM

from lambdascale.errors import ModelError
from lambdascale.model.checkpoint import pack
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.model.shape import ARCHITECTURES

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def views(packed):
    """The tensors of an image, by name, as copies."""
    image = np.fromfile(packed.image, np.uint8)
    assert len(image) == packed.layout.nbytes
    dtype = getattr(torch, packed.layout.dtype)
    return {
        t.name: torch.from_numpy(image[t.offset : t.offset + t.nbytes]).view(dtype).view(t.shape)
        for t in packed.layout.tensors
    }


@pytest.fixture
def damaged(tiny_model, tmp_path):
    """A copy of a folder with `change` applied to its tensors (a dict of name to tensor)."""

    def make(change=None, tied=False):
        folder = tmp_path / "copy"
        shutil.copytree(tiny_model("llama", tied=tied), folder)
        tensors = load_file(folder / "model.safetensors")
        if change:
            change(tensors)
        save_file(tensors, folder / "model.safetensors")
        return folder

    return make


def assert_refused(folder, cache, words):
    with pytest.raises(ModelError, match=words) as caught:
        pack(folder, "bad", "float32", cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("image.bin")), "a refused checkpoint must leave no image"


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_image_holds_the_weights_of_the_real_model(arch, tied, sharded, tiny_model, tmp_path):
    folder = tiny_model(arch, tied=tied, sharded=sharded)
    assert (len(list(folder.glob("*.safetensors"))) > 1) is sharded
    packed = pack(folder, "tiny", "float32", tmp_path)
    real = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    for name, tensor in views(packed).items():
        assert torch.equal(tensor, real.get_parameter(name)), name
    assert packed.config == (folder / "config.json").read_text()
    assert packed.shape.model_type == arch


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_weights_are_converted_to_the_dtype_of_the_image(dtype, tiny_model, tmp_path):
    folder = tiny_model("qwen2")
    source = load_file(folder / "model.safetensors")
    packed = pack(folder, "tiny", dtype, tmp_path)
    for name, tensor in views(packed).items():
        assert torch.equal(tensor, source[name].to(getattr(torch, dtype))), name


def test_a_weight_too_large_for_float16_is_refused(damaged, tmp_path):
    folder = damaged(lambda tensors: tensors[HEAD].fill_(1e6))
    with pytest.raises(ModelError, match=r"lm_head.weight .* overflows float16; use bfloat16"):
        pack(folder, "tiny", "float16", tmp_path)


def test_a_second_pack_reuses_the_image_and_a_changed_source_does_not(damaged, tmp_path):
    folder = damaged()
    first = pack(folder, "tiny", "float32", tmp_path)
    made = first.image.stat().st_mtime_ns
    assert pack(folder, "tiny", "float32", tmp_path) == first
    assert first.image.stat().st_mtime_ns == made
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v + 1 for k, v in tensors.items()}, folder / "model.safetensors")
    second = pack(folder, "tiny", "float32", tmp_path)
    assert second.image != first.image
    assert torch.equal(views(second)[HEAD], views(first)[HEAD] + 1)


def test_an_image_that_lost_bytes_is_packed_again(tiny_model, tmp_path):
    packed = pack(tiny_model("llama"), "tiny", "float32", tmp_path)
    whole = packed.image.read_bytes()
    packed.image.write_bytes(whole[:-1])
    assert pack(tiny_model("llama"), "tiny", "float32", tmp_path).image.read_bytes() == whole
    assert [p.name for p in packed.image.parent.parent.iterdir()] == [packed.image.parent.name]


def test_two_processes_that_pack_at_once_both_get_the_whole_image(tiny_model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from lambdascale.model.checkpoint import pack;"
        "print(pack(Path(sys.argv[1]), 'tiny', 'float32', Path(sys.argv[2])).image)"
    )
    command = [sys.executable, "-c", code, str(tiny_model("llama")), str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    expected = pack(tiny_model("llama"), "tiny", "float32", tmp_path)
    assert said == [str(expected.image)] * 2
    assert len(views(expected)) == len(expected.layout.tensors)
    assert len(list((tmp_path / "images").iterdir())) == 1


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_a_truncated_file_is_detected_before_its_weights_are_used(keep, damaged, tmp_path):
    folder = damaged()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert_refused(folder, tmp_path / "cache", "truncated or damaged")


def test_a_missing_shard_and_a_broken_index_are_named(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model("llama", sharded=True), tmp_path / "copy")
    (folder / "model-00002-of-00010.safetensors").unlink()
    assert_refused(folder, tmp_path / "cache", "lacks model-00002-of-00010.safetensors")
    (folder / "model.safetensors.index.json").write_text("[]")
    assert_refused(folder, tmp_path / "cache", "no safetensors index")


def test_a_folder_without_weights_or_configuration_is_refused(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert_refused(folder, tmp_path / "cache", "cannot read .*config.json")
    (folder / "config.json").write_text("[]")
    assert_refused(folder, tmp_path / "cache", "no configuration")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | TINY))
    assert_refused(folder, tmp_path / "cache", "has no safetensors files")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: t.pop("model.layers.3.mlp.up_proj.weight"),
            "lacks tensor model.layers.3.mlp.up",
        ),
        (lambda t: t.pop(HEAD), "lacks tensor lm_head.weight"),
        (lambda t: t.update({HEAD: torch.zeros(511, 64)}), r"shape \(511, 64\)"),
        (lambda t: t.update({HEAD: torch.zeros(512, 64, dtype=torch.int8)}), "is I8"),
        (
            lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}),
            "q_proj.bias, which its config.json does not explain",
        ),
    ],
)
def test_tensors_that_do_not_fit_the_configuration_are_named(change, words, damaged, tmp_path):
    assert_refused(damaged(change), tmp_path / "cache", words)


def test_buffers_beside_the_parameters_are_tolerated(damaged, tmp_path):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    packed = pack(damaged(lambda t: t.update({name: torch.ones(8)})), "tiny", "float32", tmp_path)
    assert name not in views(packed)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: None,
        lambda t: t.update({HEAD: t[EMBEDDING].clone()}),
        lambda t: t.update({HEAD: t.pop(EMBEDDING)}),
    ],
    ids=["embedding only", "both", "head only"],
)
def test_tied_weights_may_be_stored_in_any_way_and_are_packed_once(
    change, damaged, tiny_model, tmp_path
):
    packed = pack(damaged(change, tied=True), "tiny", "float32", tmp_path)
    source = load_file(tiny_model("llama", tied=True) / "model.safetensors")
    assert torch.equal(views(packed)[EMBEDDING], source[EMBEDDING])
    assert HEAD not in views(packed)


def test_a_tied_model_with_a_head_of_its_own_is_refused(damaged, tmp_path):
    folder = damaged(lambda t: t.update({HEAD: t[EMBEDDING] + 1}), tied=True)
    assert_refused(folder, tmp_path / "cache", "unlike its embedding")
