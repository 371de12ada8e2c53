"""Stage assignment against brute force, and its choices on cases one can check by eye."""

import doctest
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdascale.errors import ConfigError
from lambdascale.pipeline import stages
from lambdascale.pipeline.stages import Stage, assign_stages

Runnable = Mapping[int, frozenset[int]]


def quality(costs: Sequence[float], owners: Sequence[int]) -> tuple[int, float]:
    """(stages, largest load of a node) when part p runs on owners[p]."""
    hops = 1 + sum(a != b for a, b in pairwise(owners))
    loads = {n: sum(c for c, o in zip(costs, owners, strict=True) if o == n) for n in owners}
    return hops, max(loads.values())


def brute_force(costs: Sequence[float], runnable: Runnable) -> tuple[int, float] | None:
    able = [[n for n, parts in runnable.items() if p in parts] for p in range(len(costs))]
    covers: Iterator[tuple[int, ...]] = product(*able)
    return min((quality(costs, owners) for owners in covers), default=None)


def owners_of(assigned: Sequence[Stage]) -> list[int]:
    return [stage.node for stage in assigned for _ in range(stage.first, stage.stop)]


small = st.integers(1, 6).flatmap(
    lambda parts: st.tuples(
        st.lists(st.integers(0, 9), min_size=parts, max_size=parts),
        st.lists(st.frozensets(st.integers(0, parts - 1)), min_size=1, max_size=4),
    )
)


@settings(max_examples=300, deadline=None)
@given(small)
def test_stages_are_as_few_and_as_even_as_brute_force_finds(
    case: tuple[list[int], list[frozenset[int]]],
) -> None:
    costs, held = case
    runnable = dict(enumerate(held, start=10))
    assigned = assign_stages(costs, runnable)
    best = brute_force(costs, runnable)
    if assigned is None:
        assert best is None
        return
    assert (assigned[0].first, assigned[-1].stop) == (0, len(costs))
    assert all(a.stop == b.first and a.node != b.node for a, b in pairwise(assigned))
    assert all(runnable[s.node].issuperset(range(s.first, s.stop)) for s in assigned)
    assert quality(costs, owners_of(assigned)) == best


def test_the_order_of_the_nodes_given_does_not_matter() -> None:
    held = {n: frozenset(range(20)) - {n} for n in range(6)}
    backwards = dict(reversed(held.items()))
    assert assign_stages([1.0] * 20, held) == assign_stages([1.0] * 20, backwards)


def test_a_complete_member_needs_nobody_else() -> None:
    everything = frozenset(range(4))
    assert assign_stages([1] * 4, {5: frozenset({0, 1}), 9: everything}) == (Stage(9, 0, 4),)


def test_the_boundary_balances_cost_and_not_the_number_of_parts() -> None:
    held = {1: frozenset(range(5)), 2: frozenset(range(1, 6))}
    assert assign_stages([6, 1, 1, 1, 1, 2], held) == (Stage(1, 0, 1), Stage(2, 1, 6))


def test_a_hole_gives_one_node_two_stages_only_if_nobody_else_can_help() -> None:
    around, hole = frozenset({0, 1, 3, 4}), frozenset({2})
    alone = assign_stages([1] * 5, {1: around, 2: hole})
    assert alone == (Stage(1, 0, 2), Stage(2, 2, 3), Stage(1, 3, 5))
    helped = assign_stages([1] * 5, {1: around, 2: hole, 3: around})
    assert helped == (Stage(1, 0, 2), Stage(2, 2, 3), Stage(3, 3, 5))


def test_a_node_that_is_needed_later_is_spared_where_another_can_do() -> None:
    held = {1: frozenset({0, 2}), 2: frozenset({1}), 3: frozenset({0})}
    assert assign_stages([5, 1, 5], held) == (Stage(3, 0, 1), Stage(2, 1, 2), Stage(1, 2, 3))


@pytest.mark.parametrize("held", [{}, {1: frozenset()}, {1: frozenset({0}), 2: frozenset({2})}])
def test_no_stages_if_a_part_is_runnable_nowhere(held: Runnable) -> None:
    assert assign_stages([1, 1, 1], held) is None


def test_hundreds_of_nodes_with_holes_are_assigned_with_the_fewest_stages() -> None:
    held = {n: frozenset(range(80)) - {n % 80, (n * 7) % 80} for n in range(256)}
    assigned = assign_stages([1.0] * 80, held)
    assert assigned is not None
    assert len(assigned) == 2
    assert max(stage.stop - stage.first for stage in assigned) == 40


@pytest.mark.parametrize("costs", [[], [1, -1]])
def test_costs_that_mean_nothing_are_refused(costs: list[float]) -> None:
    with pytest.raises(ConfigError, match="costs"):
        assign_stages(costs, {1: frozenset({0, 1})})


@pytest.mark.parametrize(("first", "stop"), [(-1, 2), (2, 2), (3, 1)])
def test_an_empty_stage_is_refused(first: int, stop: int) -> None:
    with pytest.raises(ConfigError, match="stage"):
        Stage(1, first, stop)


def test_the_examples_in_the_docstrings_are_true() -> None:
    found = doctest.testmod(stages)
    assert found.attempted > 0
    assert found.failed == 0
