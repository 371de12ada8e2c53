"""Cutting an image into blocks, and the checksums that a receiver compares."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY

from lambdascale.errors import ConfigError, ModelError
from lambdascale.model.blocks import BlockMap
from lambdascale.model.checkpoint import pack
from lambdascale.model.checksum import block_checksums, checksum
from lambdascale.model.layout import ALIGNMENT
from lambdascale.model.shape import ModelShape

LAYOUT = ModelShape.from_config({"model_type": "llama"} | TINY).layout("tiny", "float32")


@given(num_blocks=st.integers(1, 500))
def test_blocks_cover_the_image_once_and_are_equal_up_to_the_alignment(num_blocks):
    blocks = BlockMap.of(LAYOUT, num_blocks)
    spans = [blocks.span(i) for i in range(num_blocks)]
    assert spans[0][0] == 0
    assert all(a + n == b for (a, n), (b, _) in pairwise(spans))
    assert sum(n for _, n in spans) == LAYOUT.nbytes
    assert max(n for _, n in spans) - min(n for _, n in spans) <= ALIGNMENT


@given(num_blocks=st.integers(1, 500), data=st.data())
def test_a_part_is_runnable_exactly_when_all_its_bytes_are_there(num_blocks, data):
    blocks = BlockMap.of(LAYOUT, num_blocks)
    held = data.draw(st.sets(st.integers(0, num_blocks - 1)))
    missing = [blocks.span(i) for i in range(num_blocks) if i not in held]
    expected = {
        part
        for part, (low, high) in enumerate(pairwise(LAYOUT.part_offsets))
        if not any(offset < high and low < offset + size for offset, size in missing)
    }
    assert blocks.runnable(held) == expected


def test_no_blocks_are_refused():
    with pytest.raises(ConfigError, match="blocks is 0"):
        BlockMap.of(LAYOUT, 0)


@pytest.fixture
def packed(tiny_model, tmp_path):
    return pack(tiny_model("llama"), "tiny", "float32", tmp_path)


@pytest.mark.parametrize("num_blocks", [1, 7, 16])
def test_checksums_are_those_of_the_bytes_of_each_block(num_blocks, packed):
    image = packed.image.read_bytes()
    offsets = BlockMap.of(packed.layout, num_blocks).offsets
    expected = [checksum(image[a:b]) for a, b in pairwise(offsets)]
    assert list(block_checksums(packed, num_blocks)) == expected
    assert list(block_checksums(packed, num_blocks)) == expected, "read back from beside the image"


def test_a_single_flipped_bit_changes_only_the_checksum_of_its_block(packed):
    before = block_checksums(packed, 8)
    packed.image.with_name("checksums-8.json").unlink()
    damaged = bytearray(packed.image.read_bytes())
    offset, nbytes = BlockMap.of(packed.layout, 8).span(5)
    damaged[offset + nbytes - 1] ^= 1
    packed.image.write_bytes(damaged)
    after = block_checksums(packed, 8)
    assert [i for i in range(8) if before[i] != after[i]] == [5]


def test_checksums_of_another_cut_are_not_believed(packed):
    right = block_checksums(packed, 4)
    kept = packed.image.with_name("checksums-4.json")
    kept.write_text(json.dumps({"offsets": [0, 1], "checksums": [1]}))
    assert block_checksums(packed, 4) == right


def test_an_image_that_is_not_whole_has_no_checksums(packed):
    packed.image.write_bytes(b"short")
    with pytest.raises(ModelError, match="has 5 bytes instead of"):
        block_checksums(packed, 4)
