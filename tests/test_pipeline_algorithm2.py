"""Algorithm 2: who is to form execution pipelines with whom, and from which tick on."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdascale.multicast.bounds import coverage_tick
from lambdascale.multicast.plan import plan
from lambdascale.pipeline import algorithm2
from lambdascale.pipeline.algorithm2 import member_sets, pipeline_tick, planned_sets


@pytest.mark.parametrize(
    ("destinations", "sets"),
    [
        ([], ()),
        ([[], []], ()),
        ([[1, 2, 3]], ((1, 2, 3),)),
        ([[2, 3], [4, 5]], ((2, 4), (3, 5))),
        ([[2, 3, 4], [5]], ((2, 5), (3, 4))),
        ([[3, 4, 5], [6, 7], [8]], ((3, 6, 8), (4, 7), (5,))),
        ([[3], [], [4, 5]], ((3, 4), (5,))),
        ([[4, 5], [6, 7], [8], [9]], ((4, 6, 8, 9), (5, 7))),
    ],
)
def test_sets_take_one_node_of_each_sub_group_while_several_have_nodes_left(
    destinations: list[list[int]], sets: tuple[tuple[int, ...], ...]
) -> None:
    assert member_sets(destinations) == sets


@given(st.lists(st.integers(0, 9), max_size=8))
def test_every_destination_is_in_exactly_one_set(sizes: list[int]) -> None:
    nodes = iter(range(sum(sizes)))
    groups = [[next(nodes) for _ in range(size)] for size in sizes]
    sets = member_sets(groups)
    assert sorted(n for members in sets for n in members) == list(range(sum(sizes)))
    assert all(sets)
    mixed = [s for s in sets if len({i for i, g in enumerate(groups) if set(g) & set(s)}) == len(s)]
    assert len(sets) - len(mixed) <= 1  # only what is left of a last sub-group may share one


def test_the_plan_of_eight_nodes_and_two_sources_pairs_the_sub_groups() -> None:
    assert planned_sets(plan("kway", 8, 2, 16)) == ((2, 5), (3, 6), (4, 7))


@pytest.mark.parametrize(
    ("nodes", "sources", "tick"),
    [(4, 2, 8), (8, 2, 9), (8, 4, 4), (12, 2, 9), (12, 4, 4), (4, 1, 16), (8, 1, 16), (12, 1, 16)],
)
def test_the_first_pipeline_is_at_most_one_tick_behind_coverage(
    nodes: int, sources: int, tick: int
) -> None:
    schedule = plan("kway", nodes, sources, 16)
    assert pipeline_tick(schedule) == tick
    assert coverage_tick(schedule) <= tick <= coverage_tick(schedule) + 1


def test_without_reordering_the_first_pipeline_waits_for_the_whole_model() -> None:
    assert all(pipeline_tick(plan("binomial", n, 2, 16)) >= 16 for n in (4, 8, 12))


def test_a_pipeline_never_forms_before_coverage_nor_after_the_end() -> None:
    for n in range(2, 14):
        for k in range(1, n):
            schedule = plan("kway", n, k, 13)
            assert coverage_tick(schedule) <= pipeline_tick(schedule) <= schedule.num_ticks


def test_the_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(algorithm2)
    assert found.attempted > 0
    assert found.failed == 0
