"""Lending: where it beats a source alone, where it does not, and what residents of a source bear."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.nominal import nominal_shape
from lambdascale.pipeline.batching import (
    MAX_SLOWDOWN,
    lendable_rows,
    lender_step_s,
    lent_rows,
    slowdown,
)
from lambdascale.pipeline.costs import Link, ModelCosts, part_seconds
from lambdascale.pipeline.lending import LenderState, lend_decode, lend_prefill
from lambdascale.pipeline.stages import Stage
from lambdascale.units import gbps

H800 = DeviceModel(bandwidth=3.35e12, flops=4e14, launch_s=20e-6)
MODEL = ModelCosts.of("llama-2-13b", nominal_shape("llama-2-13b"), "float16")
PARTS = MODEL.layout.num_parts
LINK = Link(gbps(400), 1e-4)
SPARE = gbps(400) / 50  # two percent of the link for activations
CHUNK = 2048


def prefix(node: int, stop: int) -> tuple[Stage, ...]:
    """Receiver `node` runs the first parts, source 0 the rest."""
    return Stage(node, 0, stop), Stage(0, stop, PARTS)


def prefill(resident: int, *pipelines: tuple[Stage, ...], egress: float = SPARE):
    return lend_prefill(H800, MODEL, LenderState(resident, egress), pipelines, 0, CHUNK)


def test_a_step_costs_what_the_device_says() -> None:
    whole = H800.forward_s(MODEL.layout, 0, PARTS, 64)
    assert lender_step_s(H800, MODEL, 64, {}) == pytest.approx(whole)
    assert sum(part_seconds(H800, MODEL.layout, 64)) == pytest.approx(whole - H800.launch_s)
    assert lent_rows([[Stage(0, 1, 3)], [Stage(0, 2, 4)]], 5) == {1: 5, 2: 10, 3: 5}


def test_lent_rows_are_free_below_the_ridge_and_cost_above_it() -> None:
    rest = [[Stage(0, 21, PARTS)]]
    assert slowdown(H800, MODEL, 16, rest, 64) == pytest.approx(1.0)
    assert slowdown(H800, MODEL, 16, rest, 512) > 1.5
    assert slowdown(H800, MODEL, 0, rest, 512) == 1.0, "nobody to slow down"


def test_prefill_at_one_source_gains_by_lending_and_up_to_the_bound() -> None:
    """k = 1, a receiver with the first half: Algorithm 2 has nothing to run, lending nearly doubles."""
    found = prefill(0, prefix(1, 21))
    assert found.reason == "lend"
    assert 1.85 < found.rate / found.alone < 2.0
    assert 1.15 < prefill(0, prefix(1, 8)).rate / found.alone < 1.3
    three = prefill(0, *(prefix(n, 32) for n in (1, 2, 3)))
    assert 3.8 < three.rate / found.alone <= 4.01


def test_decode_of_a_small_batch_is_not_lent() -> None:
    for sequences in (8, 32, 128):
        found = lend_decode(H800, MODEL, LINK, prefix(1, 21), 0, sequences, slots=sequences)
        assert (found.rows, found.reason) == (0, "no gain")


def test_decode_of_a_large_batch_is_lent() -> None:
    found = lend_decode(H800, MODEL, LINK, prefix(1, 21), 0, sequences=2048, slots=2048)
    assert found.rows > 0
    assert found.rate > 1.8 * found.alone


def test_small_batches_are_lent_only_where_kv_slots_are_what_is_scarce() -> None:
    waiting = {f: lend_decode(H800, MODEL, LINK, prefix(1, f), 0, 128, slots=32) for f in (8, 32)}
    assert waiting[8].rows == 0, "the lent share fills the source's slots"
    assert waiting[32].rate > 2 * waiting[32].alone


def test_a_link_with_much_latency_makes_no_decode_worth_lending() -> None:
    far = Link(gbps(400), 0.5)
    assert lend_decode(H800, MODEL, far, prefix(1, 21), 0, 2048, 2048).rows == 0


@given(st.integers(1, 200), st.lists(st.integers(1, PARTS - 1), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_resident_is_slowed_by_more_than_a_fifth(resident: int, stops: list[int]) -> None:
    pipelines = [prefix(i + 1, stop) for i, stop in enumerate(stops)]
    found = prefill(resident, *pipelines)
    assert found.slowdown <= MAX_SLOWDOWN
    if found.rows:
        lent = [[stages[-1]] for stages in pipelines]
        assert slowdown(H800, MODEL, resident, lent, found.rows) == found.slowdown
        assert found.rate >= 1.05 * found.alone


@given(st.integers(1, 128), st.integers(1, PARTS - 1), st.floats(1.0, 2.0))
@settings(max_examples=40, deadline=None)
def test_lendable_rows_are_the_most_that_keep_the_limit(resident, stop, limit) -> None:
    lent = [[Stage(0, stop, PARTS)]]
    rows = lendable_rows(H800, MODEL, resident, lent, limit, max_rows=4096)
    assert slowdown(H800, MODEL, resident, lent, rows) <= limit
    if rows < 4096:
        assert slowdown(H800, MODEL, resident, lent, rows + 1) > limit


@given(st.integers(0, 150), st.integers(1, PARTS - 2))
@settings(max_examples=40, deadline=None)
def test_a_receiver_with_more_never_lowers_what_is_predicted(resident: int, stop: int) -> None:
    less, more = prefill(resident, prefix(1, stop)), prefill(resident, prefix(1, stop + 1))
    assert more.rate >= less.rate * 0.99  # rows are whole, so the limit is not met exactly


def test_activations_yield_to_weights() -> None:
    """Parts 0–10 and 31 on: each row leaves the source once, 10 KiB. Without egress there is no lending."""
    there_and_back = (Stage(1, 0, 11), Stage(0, 11, 31), Stage(1, 31, PARTS))
    lent = prefill(0, there_and_back)
    assert lent.reason == "lend"
    assert lent.rate * MODEL.row_nbytes < 0.01 * LINK.rate, "all of it is below 1 % of the link"
    starved = prefill(0, there_and_back, egress=1e6)
    assert (starved.rows, starved.reason) == (0, "egress is needed for weights")
    assert prefill(0, prefix(1, 21), egress=0.0).reason == "lend", "the source runs last"
    some = prefill(0, there_and_back, egress=0.5 * lent.rate * MODEL.row_nbytes)
    assert some.reason == "lend, egress-bound"
    assert some.alone < some.rate < lent.rate


def test_without_a_pipeline_or_rows_nothing_is_lent() -> None:
    assert prefill(4).reason == "no pipeline"
    with pytest.raises(ConfigError, match="chunk is 0"):
        lend_prefill(H800, MODEL, LenderState(0, SPARE), [prefix(1, 9)], 0, 0)
