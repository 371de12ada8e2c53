"""Shares of the cluster: max-min fair, no node idle, and in virtual time nobody waits more than its turn."""

import doctest
import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.cluster import shares
from lambdascale.cluster.shares import Held, fair_shares
from lambdascale.errors import ConfigError

QUANTUM_S = 15
MODELS = st.sampled_from("abcdef")
WANTS = st.dictionaries(MODELS, st.integers(0, 9), min_size=1)
HOLDINGS = st.dictionaries(
    MODELS,
    st.builds(
        Held,
        num_instances=st.integers(0, 5),
        held_s=st.floats(0, 40),
        waited_s=st.floats(0, 40),
        nodes_per_instance=st.sampled_from([1, 1, 2, 4]),
    ),
)


def nodes(models: Mapping[str, int], held: Mapping[str, Held]) -> int:
    return sum(num * held.get(m, Held()).nodes_per_instance for m, num in models.items())


@given(WANTS, st.integers(0, 20), HOLDINGS)
def test_nobody_gets_more_than_it_wants_or_there_is(wants, total, held):
    got = fair_shares(wants, total, held)
    assert list(got) == list(wants)
    assert all(0 <= got[m] <= wants[m] for m in wants)
    assert nodes(got, held) <= total
    if nodes(wants, held) <= total:
        assert got == wants


@given(WANTS, st.integers(0, 20), HOLDINGS)
def test_no_served_model_is_short_while_an_instance_of_it_would_fit(wants, total, held):
    got = fair_shares(wants, total, held)
    left = total - nodes(got, held)
    for model in wants:
        if 0 < got[model] < wants[model]:
            assert held.get(model, Held()).nodes_per_instance > left


@given(WANTS, st.integers(0, 20))
def test_shares_of_equal_models_are_max_min_fair(wants, total):
    got = fair_shares(wants, total, {})
    assert sum(got.values()) == min(total, sum(wants.values()))
    for short in (m for m in wants if got[m] < wants[m]):
        assert all(got[other] <= got[short] + 1 for other in wants)


@given(WANTS, st.integers(0, 20), HOLDINGS, st.randoms())
def test_the_order_in_which_models_are_named_does_not_matter(wants, total, held, draw):
    shuffled = list(wants.items())
    draw.shuffle(shuffled)
    assert fair_shares(dict(shuffled), total, held) == fair_shares(wants, total, held)


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_model_alone_gets_everything(want, total):
    assert fair_shares({"a": want}, total, {"a": Held(1, held_s=99.0)}) == {"a": min(want, total)}


def test_the_odd_instance_stays_where_it_is():
    held = {"a": Held(1, held_s=99.0), "b": Held(2, held_s=99.0)}
    assert fair_shares({"a": 3, "b": 3}, 3, held) == {"a": 1, "b": 2}


def test_a_burst_of_one_model_gets_nodes_from_one_that_has_many():
    held = {"a": Held(8, held_s=1.0)}
    assert fair_shares({"a": 8, "b": 1}, 8, held) == {"a": 7, "b": 1}
    assert fair_shares({"a": 8, "b": 8}, 8, held) == {"a": 4, "b": 4}


def test_a_holder_keeps_its_last_instance_for_its_quantum_and_then_yields_to_the_longest_waiting():
    wants = dict.fromkeys("abcd", 1)
    waiting = {"c": Held(waited_s=2.0), "d": Held(waited_s=7.0)}
    young = {"a": Held(1, held_s=14.0), "b": Held(1, held_s=3.0), **waiting}
    assert fair_shares(wants, 2, young) == {"a": 1, "b": 1, "c": 0, "d": 0}
    old = {**young, "a": Held(1, held_s=15.0)}
    assert fair_shares(wants, 2, old) == {"a": 0, "b": 1, "c": 0, "d": 1}


def test_small_models_do_not_overtake_a_large_one_that_waits_longer():
    wants = {"large": 1, "small": 1, "old": 3}
    held = {
        "large": Held(waited_s=9.0, nodes_per_instance=4),
        "small": Held(waited_s=1.0),
        "old": Held(1, held_s=2.0),
    }
    assert fair_shares(wants, 4, held) == {"large": 0, "small": 0, "old": 3}
    held["old"] = Held(1, held_s=QUANTUM_S)
    assert fair_shares(wants, 4, held) == {"large": 1, "small": 0, "old": 0}


def longest_waits(weights: Mapping[str, int], total: int, want: int, load_s: int) -> dict[str, int]:
    """Play constant demand second by second; the longest wait for a ready instance of each model."""
    has = dict.fromkeys(weights, 0)
    since = dict.fromkeys(weights, 0)  # the second in which it was last given or lost an instance
    worst = dict.fromkeys(weights, 0)
    for now in range(20 * QUANTUM_S * len(weights)):
        held = {
            m: Held(
                has[m],
                held_s=max(0, now - since[m] - load_s) if has[m] else 0,
                waited_s=0 if has[m] else now - since[m],
                nodes_per_instance=weight,
            )
            for m, weight in weights.items()
        }
        got = fair_shares(dict.fromkeys(weights, want), total, held, QUANTUM_S)
        for model in weights:
            if bool(got[model]) != bool(has[model]):
                since[model] = now
            if not got[model]:
                worst[model] = max(worst[model], now - since[model] + load_s)
        has = got
    return worst


@pytest.mark.parametrize("load_s", [0, 4])
@pytest.mark.parametrize("want", [1, 3])
@pytest.mark.parametrize(
    ("num_models", "num_nodes"), [(2, 1), (5, 1), (7, 3), (9, 4), (12, 5), (4, 4)]
)
def test_with_more_models_than_nodes_each_is_served_within_its_turn(
    num_models: int, num_nodes: int, want: int, load_s: int
) -> None:
    weights = {f"model {i}": 1 for i in range(num_models)}
    worst = longest_waits(weights, num_nodes, want, load_s)
    turns = math.ceil((num_models - num_nodes) / num_nodes)
    assert max(worst.values()) <= turns * (QUANTUM_S + load_s) + load_s


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 1, 2, 4]), min_size=2, max_size=6), st.integers(4, 6))
def test_models_of_several_nodes_are_served_in_turn_too(sizes: list[int], total: int) -> None:
    weights = {f"model {i}": size for i, size in enumerate(sizes)}
    worst = longest_waits(weights, total, want=2, load_s=0)
    assert max(worst.values()) <= len(sizes) * QUANTUM_S


def test_a_model_larger_than_the_cluster_does_not_keep_others_waiting():
    held = {"huge": Held(waited_s=99.0, nodes_per_instance=8), "small": Held()}
    assert fair_shares({"huge": 1, "small": 2}, 4, held) == {"huge": 0, "small": 2}


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: fair_shares({"a": -1}, 4, {}), "model 'a' wants -1"),
        (lambda: fair_shares({"a": 1}, -4, {}), "total is -4"),
        (lambda: fair_shares({"a": 1}, 4, {}, quantum_s=0), "quantum_s is 0"),
        (lambda: Held(-1), "num_instances is -1"),
        (lambda: Held(waited_s=-1.0), "waited_s is -1.0"),
        (lambda: Held(nodes_per_instance=0), "nodes_per_instance is 0"),
    ],
)
def test_values_that_cannot_be_are_refused(call, why: str):
    with pytest.raises(ConfigError, match=why):
        call()


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(shares)
    assert found.attempted > 0
    assert found.failed == 0
