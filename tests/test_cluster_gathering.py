"""Nodes kept together for models that span several, as a pure function."""

import doctest

from hypothesis import given
from hypothesis import strategies as st

from lambdascale.cluster import gathering
from lambdascale.cluster.gathering import gather

SPANS = {"a": 1, "b": 2, "c": 4}
OWNERS = st.lists(st.sampled_from([None, None, "a", "b"]), min_size=1, max_size=12)


@given(OWNERS, st.lists(st.sampled_from("bc"), unique=True))
def test_whole_places_are_kept_in_which_nobody_as_wide_lies(owners, wanting):
    assigned = dict(enumerate(owners))
    kept = gather(wanting, SPANS, assigned)
    for model in set(kept.values()):
        nodes = [node for node, who in kept.items() if who == model]
        assert nodes == list(range(nodes[0], nodes[0] + SPANS[model]))
        assert nodes[0] % SPANS[model] == 0
        assert all(assigned[n] is None or SPANS[assigned[n]] < SPANS[model] for n in nodes)


@given(OWNERS)
def test_as_few_as_possible_must_move(owners):
    assigned = dict(enumerate(owners))
    kept = gather(["b"], SPANS, assigned)
    pairs = [owners[i : i + 2] for i in range(0, len(owners) - 1, 2)]
    able = [sum(o is not None for o in pair) for pair in pairs if "b" not in pair]
    moving = [sum(assigned[n] is not None for n in kept)] if kept else []
    assert moving == ([min(able)] if able else [])


def test_examples_in_the_docstring_hold():
    assert doctest.testmod(gathering).failed == 0
