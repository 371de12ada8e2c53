"""Scenarios: what arrives when a node is slow or dies, by the planners; and the study of lengths."""

import doctest
import math
from itertools import product

import pytest

from lambdascale.errors import ConfigError, ScheduleError
from lambdascale.experiments import scenario as module
from lambdascale.experiments import schedule_study as study
from lambdascale.experiments.scenario import Scenario, foretell
from lambdascale.multicast.plan import ALGORITHMS, plan
from lambdascale.multicast.timing import arrival_times

SHAPES = [(2, 1, 1), (4, 2, 4), (7, 2, 5), (8, 1, 16), (9, 4, 8)]


@pytest.mark.parametrize(("algorithm", "shape"), list(product(ALGORITHMS, SHAPES)))
def test_an_undisturbed_scenario_is_the_plan_on_equal_links(algorithm: str, shape) -> None:
    outcome = foretell(Scenario(algorithm, *shape))
    assert outcome.times == arrival_times(plan(algorithm, *shape), 1.0, 1.0)
    assert outcome.end >= outcome.bound
    assert outcome.num_repaired == 0
    assert outcome.covered_share(0) == 0
    assert outcome.covered_share(outcome.end) == outcome.mean_share(outcome.end) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("killed_at", [0.0, 1.0, 4.5, 9.0, 200.0])
@pytest.mark.parametrize("slow_node", [None, 1, 5])
def test_all_survivors_get_all_blocks_and_the_dead_none_after_its_death(
    algorithm: str, killed_at: float, slow_node: int | None
) -> None:
    whole = foretell(Scenario(algorithm, 7, 2, 8, slow_node=slow_node))
    outcome = foretell(
        Scenario(algorithm, 7, 2, 8, slow_node=slow_node, killed_node=4, killed_at=killed_at)
    )
    assert math.isfinite(outcome.end)
    assert set(outcome.survivors) == {2, 3, 5, 6}
    for before, after in zip(whole.times, outcome.times, strict=True):
        assert [t for t in after if t <= killed_at] == [t for t in before if t <= killed_at]
    assert all(t <= killed_at or t == math.inf for t in outcome.times[4])
    late = [t for node in outcome.survivors for t in outcome.times[node] if t > killed_at]
    assert outcome.num_repaired == len(late)


def test_the_death_of_a_node_ends_what_it_adds_to_the_coverage() -> None:
    outcome = foretell(Scenario("star", 3, 1, 8, killed_node=1, killed_at=4.0))
    assert outcome.alive(3.9) == (1, 2)
    assert outcome.alive(4.0) == (2,)
    assert outcome.covered_share(4.0) == sum(t <= 4 for t in outcome.times[2]) / 8


def test_the_only_copy_dies_early_or_late() -> None:
    with pytest.raises(ScheduleError, match=r"blocks .* survive on no node"):
        foretell(Scenario("kway", 8, 1, 16, killed_node=0, killed_at=5.0))
    late = foretell(Scenario("kway", 8, 1, 16, killed_node=0, killed_at=17.0))
    assert math.isfinite(late.end)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"slow_node": 8}, "slow node is 8; nodes are 0 to 7"),
        ({"killed_node": -1}, "killed node is -1; nodes are 0 to 7"),
        ({"slow_rate": 0.0}, "slow_rate is 0.0; it must be 0.05 to 1"),
        ({"killed_at": math.nan}, "killed_at is nan; it must be a time, at least 0"),
    ],
)
def test_a_scenario_says_which_value_is_wrong(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Scenario("kway", 8, 2, 16, **values)


def test_requests_that_cannot_work_are_refused_by_the_planner() -> None:
    with pytest.raises(ConfigError, match="sources is 8; it must be at least 1 and less than"):
        foretell(Scenario("kway", 8, 8, 16))
    with pytest.raises(ConfigError, match="algorithm 'best' is unknown"):
        foretell(Scenario("best"))


def test_no_schedule_is_shorter_than_the_bound_and_circulant_meets_it() -> None:
    for k in (1, 2, 3):
        frame = study.lengths(range(k + 1, 18), k, [b for b in (1, 2, 3, 5, 8, 17) if b >= k])
        assert (frame["ticks"] >= frame["bound"]).all()
        shortest, met, _ = study.length_metrics("grid", frame)
        assert shortest.values[0] >= 1
        assert set(met.values) == {1.0}
        circulant = frame[frame["algorithm"] == "circulant"]
        assert (circulant["ticks"] == circulant["bound"]).all()


def test_kway_is_as_long_and_covers_as_early_as_the_paper_says() -> None:
    for frame in (study.over_nodes(17, 1, 16), study.over_blocks(12, 1, 32)):
        assert set(study.length_metrics("grid", frame)[2].values) == {0.0}
    assert set(study.coverage_metric(16, 12).values) <= {0.0, 1.0}


def test_a_slow_node_drags_the_others_unless_the_plan_is_weighted() -> None:
    slow = Scenario("kway", 8, 1, 64, slow_node=3)
    dragged, spared = (
        foretell(study.with_algorithm(slow, name)).completion([1, 2, 4, 5, 6, 7])
        for name in ("kway", "weighted")
    )
    assert dragged > 3 * spared
    assert spared <= 1.15 * slow.num_blocks


def test_tables_name_members_and_the_dead() -> None:
    pair = [plan("binomial", 8, 2, 4), plan("kway", 8, 2, 4)]
    assert study.joint_table(pair).splitlines()[3] == (
        "kway      nodes 2 + 5 hold the model after tick 3"
    )
    killed = foretell(Scenario("kway", 4, 2, 4, killed_node=2, killed_at=1.0))
    head, row = study.completions([killed]).splitlines()
    assert head.split() == ["block", "times", "node", "2", "node", "3"]
    assert row.split()[:2] == ["kway", "dead"]
    assert study.repair_metric(killed).values[0] <= 1


def test_blocks_of_the_study_are_powers_of_two_and_enough_for_the_sources() -> None:
    assert set(study.over_blocks(8, 4, 20)["blocks"]) == {4, 8, 16}
    assert set(study.over_nodes(5, 2, 4)["nodes"]) == {3, 4, 5}
    with pytest.raises(ConfigError, match="nothing to plan"):
        study.over_nodes(2, 2, 4)


@pytest.mark.parametrize("documented", [module, study])
def test_examples_in_the_documentation_hold(documented) -> None:
    assert doctest.testmod(documented).failed == 0
