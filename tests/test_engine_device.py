"""The cost of a step: weights, KV entries where they count, FLOPs, and the launch floor under all of it."""

from itertools import pairwise

import pytest

from lambdascale.engine.base import Chunk, EngineLimits, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.kv import KvLayout
from lambdascale.sim.models import nominal_model, symbolic_model
from lambdascale.sim.prepared import Prepared

LAYOUT = symbolic_model().layout
ALL = LAYOUT.num_parts
PLAIN = DeviceModel(bandwidth=1e9, flops=1e12, launch_s=1e-3)
READING = DeviceModel(bandwidth=1e9, flops=1e12, launch_s=1e-3, reads_kv=True)


def test_kv_entries_take_as_long_to_read_as_weights_where_the_device_says_so() -> None:
    bare = READING.forward_s(LAYOUT, 0, ALL, 1)
    assert READING.forward_s(LAYOUT, 0, ALL, 1, 5e8) == pytest.approx(bare + 0.5)
    assert PLAIN.forward_s(LAYOUT, 0, ALL, 1, 5e8) == PLAIN.forward_s(LAYOUT, 0, ALL, 1) == bare


def test_a_step_is_as_long_as_the_longer_of_reading_and_computing_and_never_below_its_launch() -> (
    None
):
    nothing = READING.forward_s(LAYOUT, 0, 1, 1)
    assert nothing == READING.launch_s
    computing = DeviceModel(1e15, flops=1e6, launch_s=1e-3, reads_kv=True)
    assert computing.forward_s(LAYOUT, 0, ALL, 8, 1e6) == computing.forward_s(LAYOUT, 0, ALL, 8)
    times = [READING.forward_s(LAYOUT, 0, ALL, 1, kv) for kv in (0.0, 1e3, 1e6, 1e9)]
    assert all(a < b for a, b in pairwise(times))


def test_a_slowed_device_takes_that_many_times_as_long_for_everything() -> None:
    slow = READING.slowed(3.0)
    for tokens, kv in ((1, 0.0), (1, 1e8), (100_000, 0.0)):
        expected = 3.0 * READING.forward_s(LAYOUT, 0, ALL, tokens, kv)
        assert slow.forward_s(LAYOUT, 0, ALL, tokens, kv) == pytest.approx(expected)
    assert READING.slowed(1.0) == READING


def test_a_step_attends_to_all_of_every_sequence_once_a_chunk() -> None:
    chunks = [Chunk(0, 0, 64, True), Chunk(1, 300, 1, True), Chunk(2, 64, 32, False)]
    assert Step(0, ALL, chunks, tokens=[0] * 97).num_attended == 64 + 301 + 96


def test_bytes_of_attended_entries_are_those_of_the_shape_shared_among_the_layers_of_a_stage() -> (
    None
):
    model = nominal_model("llama-2-70b")
    each = model.shape.kv_bytes_per_token("float16")
    layers = model.layout.num_layers
    real = KvLayout(layers, 2, 4, model.shape.num_kv_heads, 256, 2 * model.shape.head_dim)
    simulated = Prepared.of(model.layout, model.config, EngineLimits(4, 256), wide_rows=True).kv
    for kv in (real, simulated):
        assert kv.nbytes_of(0, model.layout.num_parts, 100) == 100 * each
        assert kv.nbytes_of(1, 1 + layers // 4, 100) == 25 * each
        assert kv.nbytes_of(0, 1, 100) == 0
