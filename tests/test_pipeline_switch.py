"""Recompute or transfer the KV cache: by cost, with crossovers that move the right way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.nominal import nominal_shape
from lambdascale.pipeline.costs import Link, ModelCosts
from lambdascale.pipeline.switch import (
    Method,
    move_boundary,
    recompute_lengths,
    switch_decision,
)
from lambdascale.units import gbps

H800 = DeviceModel(bandwidth=3.35e12, flops=4e14, launch_s=20e-6)  # dense FP16 at 40 % of nominal
NAMES = ("llama-2-7b", "llama-2-13b", "llama-2-70b")
MODELS = {name: ModelCosts.of(name, nominal_shape(name), "float16") for name in NAMES}
LATENCY_S = 1e-4
ENOUGH = 1 << 14

# model, Gb/s left by weights → (first, last) length at which recomputing is as soon; None: never
TABLE = {
    ("llama-2-7b", 400): None,
    ("llama-2-13b", 400): None,
    ("llama-2-70b", 400): None,
    ("llama-2-7b", 100): (91, ENOUGH),
    ("llama-2-13b", 100): (115, ENOUGH),
    ("llama-2-70b", 100): None,
    ("llama-2-7b", 10): (10, ENOUGH),
    ("llama-2-13b", 10): (12, ENOUGH),
    ("llama-2-70b", 10): None,
    ("llama-2-70b", 1): (16, ENOUGH),
}


def link(gigabits: float) -> Link:
    return Link(gbps(gigabits), LATENCY_S)


@pytest.mark.parametrize(("case", "expected"), TABLE.items())
def test_the_crossover_lengths_of_the_papers_models(case, expected) -> None:
    name, gigabits = case
    lengths = recompute_lengths(MODELS[name], H800, link(gigabits), ENOUGH)
    assert (lengths[0], lengths[-1]) == expected if expected else len(lengths) == 0


@pytest.mark.parametrize(("name", "mib"), list(zip(NAMES, (0.5, 0.78, 0.31), strict=True)))
def test_a_token_leaves_as_much_kv_as_the_paper_says(name: str, mib: float) -> None:
    model = MODELS[name]
    assert model.kv_of(0, model.layout.num_parts) / 2**20 == pytest.approx(mib, abs=0.01)
    assert model.kv_of(0, 1) == 0 == model.kv_of(model.layout.num_parts - 1, model.layout.num_parts)


def test_at_full_rate_five_hundred_tokens_move_in_a_third_of_the_time() -> None:
    for name, recompute_ms, transfer_ms in (
        ("llama-2-7b", 16.6, 5.5),
        ("llama-2-13b", 32.5, 8.5),
        ("llama-2-70b", 175.3, 3.5),
    ):
        found = switch_decision(512, MODELS[name], H800, link(400))
        assert found.method is Method.TRANSFER
        assert found.recompute_s * 1e3 == pytest.approx(recompute_ms, abs=0.1)
        assert found.transfer_s * 1e3 == pytest.approx(transfer_ms, abs=0.1)


rates, flops = st.floats(1e7, 1e11), st.floats(1e12, 1e15)
tokens = st.integers(1, 8192)


@given(tokens, rates, st.floats(1, 50), st.sampled_from(NAMES))
@settings(max_examples=100, deadline=None)
def test_a_faster_link_never_turns_transfer_into_recomputing(n, rate, factor, name) -> None:
    slow = switch_decision(n, MODELS[name], H800, Link(rate, LATENCY_S))
    fast = switch_decision(n, MODELS[name], H800, Link(rate * factor, LATENCY_S))
    assert not (slow.method is Method.TRANSFER and fast.method is Method.RECOMPUTE)
    assert fast.seconds <= slow.seconds


@given(tokens, rates, flops, st.floats(1, 50), st.sampled_from(NAMES))
@settings(max_examples=100, deadline=None)
def test_a_faster_device_never_turns_recomputing_into_transfer(
    n, rate, speed, factor, name
) -> None:
    slow = switch_decision(n, MODELS[name], DeviceModel(3e12, speed), Link(rate))
    fast = switch_decision(n, MODELS[name], DeviceModel(3e12 * factor, speed * factor), Link(rate))
    assert not (slow.method is Method.RECOMPUTE and fast.method is Method.TRANSFER)


@given(rates, flops, st.floats(0, 0.1), st.sampled_from(NAMES))
@settings(max_examples=30, deadline=None)
def test_the_crossover_lengths_are_where_the_decision_changes(rate, speed, latency, name) -> None:
    model, device, way = MODELS[name], DeviceModel(3e12, speed), Link(rate, latency)
    lengths = recompute_lengths(model, device, way, 600)
    for n in {1, 2, 7, 50, 300, 599, 600, *lengths[:2], *lengths[-2:]}:
        method = switch_decision(n, model, device, way).method
        assert (method is Method.RECOMPUTE) == (n in lengths)
    edges = {lengths.start - 1, lengths.stop} & set(range(1, 601)) if lengths else set()
    assert all(switch_decision(n, model, device, way).method is Method.TRANSFER for n in edges)


def test_only_the_missing_part_is_transferred_and_recomputing_stops_after_it() -> None:
    model = MODELS["llama-2-13b"]
    whole = switch_decision(100, model, H800, link(10))
    upper = switch_decision(100, model, H800, link(10), first=21)
    lower = switch_decision(100, model, H800, link(10), first=1, stop=21)
    assert upper.transfer_s - LATENCY_S == pytest.approx((whole.transfer_s - LATENCY_S) / 2)
    assert upper.recompute_s == whole.recompute_s > 1.9 * lower.recompute_s


@pytest.mark.parametrize(("n", "first", "stop"), [(0, 0, None), (5, 41, None), (5, 3, 3)])
def test_nothing_to_move_is_refused(n: int, first: int, stop: int | None) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        switch_decision(n, MODELS["llama-2-13b"], H800, link(10), first, stop)


def test_a_boundary_moves_for_a_long_answer_and_stays_for_its_last_tokens() -> None:
    model, moved = MODELS["llama-2-13b"], range(11, 21)
    before_s, after_s = 12e-3, 9e-3

    def found(remaining: int, gigabits: float, context: int = 2000):
        return move_boundary(
            before_s, after_s, remaining, context, model, H800, link(gigabits), moved
        )

    assert found(100, 40).move
    assert not found(2, 40).move
    assert found(100, 40).gain_s == pytest.approx(0.3)
    assert not found(20, 40, context=50_000).move, "much KV of a large batch"
    assert found(20, 400, context=50_000).pause.seconds < found(20, 40, 50_000).pause.seconds
