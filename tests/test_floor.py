"""The emulated device is no faster than promised, for any number of slots and any context."""

import asyncio

import pytest
from engine_driver import Memory, load, ready
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import TinyModel

from lambdascale.engine.base import Chunk, EngineLimits, Pick, Step
from lambdascale.engine.device import DeviceModel
from lambdascale.engine.torch_engine import TorchEngine
from lambdascale.experiments.floor import (
    PREFILL_TOKENS,
    Point,
    device_through,
    emulated_device,
    measured,
)
from lambdascale.model.catalogue import load_packed
from lambdascale.model.layout import ImageLayout
from lambdascale.model.packed import PackedModel
from lambdascale.sim.models import nominal_model, symbolic_model
from lambdascale.workload.request import Sampling

pytestmark = pytest.mark.alone

LAYOUTS = (
    symbolic_model(tied=True).layout,
    symbolic_model(tied=False).layout,
    symbolic_model(num_layers=1, vocab=100_000, dtype="bfloat16").layout,
    nominal_model("llama-2-7b").layout,
)
ROUNDING = 1e-9


def charged_s(device: DeviceModel, layout: ImageLayout, point: Point) -> float:
    forward_s = device.forward_s(layout, 0, layout.num_parts, point.num_tokens)
    return forward_s + device.sample_s(layout, point.num_rows)


def ratios(layout: ImageLayout, *points: Point) -> list[float]:
    """How long each step takes on the device through both, compared with what was asked for."""
    device = device_through(layout, *points)
    return [charged_s(device, layout, point) / point.seconds for point in points]


@given(
    layout=st.sampled_from(LAYOUTS),
    slots=st.integers(1, 300),
    length=st.integers(1, 300),
    decode_s=st.floats(1e-5, 10),
    prefill_s=st.floats(1e-5, 10),
)
@example(LAYOUTS[0], 80, 64, 0.1, 0.09)
@example(LAYOUTS[0], 8, 64, 0.1, 0.01)
@example(LAYOUTS[0], 1, 1, 0.1, 0.1)
def test_neither_step_is_shorter_than_it_was_asked_to_be(
    layout, slots, length, decode_s, prefill_s
):
    points = Point(slots, slots, decode_s), Point(length, 1, prefill_s)
    assert min(ratios(layout, *points)) >= 1 - ROUNDING


@pytest.mark.parametrize("layout", [LAYOUTS[1], LAYOUTS[3], symbolic_model(8, 64, 512).layout])
def test_both_steps_take_exactly_as_long_as_asked_where_a_roofline_can(layout):
    points = Point(8, 8, 0.1), Point(64, 1, 0.4)
    assert ratios(layout, *points) == pytest.approx([1, 1], rel=ROUNDING)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_no_roofline_can_only_one_step_takes_longer_and_not_much(layout):
    decode, prefill = ratios(layout, Point(8, 8, 0.1), Point(64, 1, 1.6))
    assert prefill == pytest.approx(1, rel=ROUNDING)
    assert 1 < decode < 16


@pytest.fixture(params=["tied", "untied"])
def packed(request, tiny_model: TinyModel, tmp_path) -> PackedModel:
    """A model with a context of 32 tokens."""
    folder = tiny_model("llama", tied=request.param == "tied", max_position_embeddings=32)
    return load_packed(str(folder), "float32", tmp_path)


@pytest.mark.parametrize("slots", [1, 80])
def test_measured_steps_fit_any_number_of_slots_and_a_small_context(packed, slots):
    decode, prefill = measured(packed, slots)
    assert (decode.num_tokens, decode.num_rows) == (slots, slots)
    assert (prefill.num_tokens, prefill.num_rows) == (32, 1)
    assert min(ratios(packed.layout, decode, prefill)) >= 1 - ROUNDING


def test_a_prefill_is_measured_with_so_many_tokens_in_a_larger_context(tiny_model, tmp_path):
    _, prefill = measured(load_packed(str(tiny_model("llama")), "float32", tmp_path), 2)
    assert prefill.num_tokens == PREFILL_TOKENS


def test_the_engine_keeps_the_pace_of_a_device_for_more_nodes_than_cores(packed):
    device = emulated_device(packed, num_nodes=100, max_slots=80)
    promised_s = charged_s(device, packed.layout, Point(80, 80, 0.0))

    async def decode() -> tuple[float, int]:
        engine, region = TorchEngine(floor=device), Memory(packed.layout.nbytes)
        load(region, packed)
        try:
            await ready(engine, packed, region, EngineLimits(80, 32, 80))
            chunks = [Chunk(slot, 0, 1, True) for slot in range(80)]
            step = Step(0, packed.layout.num_parts, chunks, tokens=[1] * 80)
            started = asyncio.get_running_loop().time()
            rows = await engine.forward(step)
            await engine.sample(rows, [Pick(slot, 0, Sampling()) for slot in range(80)])
            return asyncio.get_running_loop().time() - started, engine.counts.overruns
        finally:
            await engine.close()

    took_s, overruns = asyncio.run(decode())
    assert took_s >= promised_s
    assert overruns == 0
