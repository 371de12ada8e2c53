"""What is compared of both clocks, what counts and what is fitted; a small comparison on real processes."""

import fnmatch
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lambdascale.claims.book import book
from lambdascale.errors import ConfigError
from lambdascale.experiments import fidelity_score as score
from lambdascale.experiments.fidelity import measure, predict
from lambdascale.experiments.fidelity_fit import fit, line
from lambdascale.experiments.fidelity_points import COLUMNS, points, times_of
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.trials import PROFILES, RANKED, Imposed, Trial, backlog, trials_of
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.models import symbolic_model

pytestmark = pytest.mark.alone

# untied, as the model of `fidelity`: a step is one call of the engine with a launch cost, not two
IMPOSED = Imposed(symbolic_model(num_layers=6, hidden=64, tied=False), copy_s=1.0, step_s=0.05)
KNOWN = [Trial(2, 1, 8), Trial(4, 1, 16), Trial(4, 2, 8), Trial(3, 1, 16, serves=True)]


def simulated(trials, conditions: Conditions, step_s: float = 0.0) -> list[RunResult]:
    return [predict(IMPOSED, trial, conditions, step_s) for trial in trials]


def point(**changed) -> dict[str, object]:
    """A point that is scored and exact, of the ranked trial."""
    sources, nodes, blocks = RANKED
    row = {"kind": "multicast", "metric": "complete", "system": "kway", "serves": True}
    row |= {"sources": sources, "nodes": nodes, "blocks": blocks, "transport": "shm"}
    row |= {"measured_s": 2.0, "predicted_s": 2.0, "overruns": 0, "steps": 9, "in_sample": False}
    row |= {"provenance": "emulated, simulated", **changed}
    return row | {"ratio": row["predicted_s"] / row["measured_s"]}


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.mark.parametrize(
    ("trial", "inside"),
    [
        (Trial(4, 2, 16), True),
        (Trial(2, 1, 4, serves=True), True),
        (Trial(5, 2, 16), False),
        (Trial(4, 2, 32), False),
        (Trial(4, 3, 16), False),
    ],
)
def test_small_trials_are_in_sample_and_one_large_number_puts_a_trial_out(trial, inside):
    assert trial.in_sample is inside


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_calibrates_on_both_kinds_of_trials_and_scores_both(profile):
    kinds = {(trial.in_sample, trial.serves) for trial in trials_of(profile)}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    assert len({trial.label for trial in trials_of(profile)}) == len(trials_of(profile))


def test_the_full_profile_spans_what_was_asked_for_and_ranks_all_systems():
    trials = trials_of("full")
    assert {trial.num_nodes for trial in trials} == {2, 3, 4, 5, 6, 7, 8}
    assert {trial.num_blocks for trial in trials} == {4, 8, 16, 32}
    assert {trial.num_sources for trial in trials} == {1, 2, 4}
    assert {trial.transport for trial in trials} == {"shm", "tcp"}
    ranked = {t.system for t in trials if t.serves and (t.num_sources, t.num_nodes) == RANKED[:2]}
    assert len(ranked) == 10


def test_an_unknown_profile_and_an_impossible_pace_are_refused():
    with pytest.raises(ConfigError, match="profile 'long' is unknown; use one of quick, full"):
        trials_of("long")
    with pytest.raises(ConfigError, match="copy_s is 0; give seconds"):
        replace(IMPOSED, copy_s=0)


def test_a_link_takes_a_copy_and_the_device_a_step_as_long_as_imposed():
    layout, spec = IMPOSED.packed.layout, IMPOSED.spec(Trial(2, 1, 8))
    assert layout.nbytes / spec.rate == pytest.approx(1.0)
    read = layout.nbytes - layout.part_nbytes(0)
    step_s = IMPOSED.device.forward_s(layout, 0, layout.num_parts, num_tokens=4)
    assert step_s == pytest.approx(0.05 * read / layout.nbytes)


def test_a_multicast_has_two_times_and_a_trial_that_serves_has_all():
    multicast, serving = simulated([Trial(3, 1, 8), Trial(3, 1, 8, serves=True)], Conditions())
    assert list(times_of(multicast)) == [("multicast", "complete"), ("multicast", "coverage")]
    kinds = [kind for kind, _ in times_of(serving)]
    assert kinds == ["multicast", *["ramp"] * 3, *["mode switch"] * 2, *["TTFT"] * 2]
    assert all(0 < seconds < 60 for seconds in times_of(serving).values())


def test_a_point_states_both_times_their_ratio_and_whether_it_counts():
    trial = Trial(6, 2, 8, serves=True)
    (real,), (virtual,) = (
        simulated([trial], Conditions(latency_s=1e-3)),
        simulated([trial], Conditions()),
    )
    nodes = real.nodes.assign(overruns=[0, 0, 2, 0, 1, 0])
    table = points([trial], [replace(real, nodes=nodes)], [virtual])
    assert list(table.columns) == list(COLUMNS)
    assert (table["ratio"] == table["predicted_s"] / table["measured_s"]).all()
    assert (table["overruns"] == 3).all()
    assert not table["in_sample"].any()


def test_points_in_sample_and_of_devices_that_were_too_slow_are_not_scored():
    table = frame(
        point(), point(in_sample=True, predicted_s=4.0), point(overruns=1, predicted_s=4.0)
    )
    assert list(score.scored(table)["ratio"]) == [1.0]
    errors = score.errors(table).set_index(["kind", "sample"])
    assert errors.loc[("multicast", "out"), ["points", "hollow", "worst"]].tolist() == [1, 1, 0.0]
    assert errors.loc[("multicast", "in"), ["points", "hollow", "worst"]].tolist() == [1, 0, 1.0]


def test_errors_are_quantiles_of_the_distance_from_one():
    ratios = [0.9, 0.96, 1.0, 1.02, 1.2]
    table = frame(*(point(predicted_s=2 * ratio) for ratio in ratios))
    row = score.errors(table).iloc[0]
    assert row["median"] == pytest.approx(0.04)
    assert row["p90"] == pytest.approx(np.quantile([0.1, 0.04, 0, 0.02, 0.2], 0.9))
    assert row["worst"] == pytest.approx(0.2)
    assert row["bias"] == pytest.approx(0.0)


def test_a_ranking_is_wrong_only_where_systems_are_told_apart():
    table = frame(
        point(system="kway", predicted_s=2.0, measured_s=2.05),
        point(system="circulant", predicted_s=2.04, measured_s=2.01),
        point(system="chain", predicted_s=2.5, measured_s=2.6),
        point(system="tree", predicted_s=4.0, measured_s=2.55),
        point(system="star", predicted_s=1.0, overruns=7),
    )
    ranking = score.ranking(table, "complete")
    assert list(ranking["system"]) == ["kway", "circulant", "chain", "tree"]
    assert list(ranking["measured rank"]) == [2, 1, 4, 3]
    assert score.disordered(ranking) == [("chain", "tree")]


def named(table: pd.DataFrame) -> dict[str, tuple[float, ...]]:
    return {metric.name: metric.values for metric in score.metrics(table)}


def test_metrics_are_what_claims_are_about():
    exact = [
        point(metric=metric, kind=kind, system=system)
        for metric, kind in {"complete": "multicast", "P50": "TTFT", "P90": "TTFT"}.items()
        for system in ("kway", "chain")
    ]
    off = {"predicted_s": 3.0, "nodes": 8}
    table = frame(*exact, point(**off), point(metric="P50", kind="TTFT", **off), point(overruns=1))
    assert named(table) == {
        "fidelity.times.median_error": (0.0,),
        "fidelity.times.p90_error": (0.4,),
        "fidelity.ttft.p50_error": (0.0, 0.0, 0.5),
        "fidelity.ttft.p90_error": (0.0, 0.0),
        "fidelity.same_ranking": (1.0, 1.0),
        "fidelity.hollow_share": (0.111111111,),
    }


def test_a_wrong_ranking_is_said_so_and_of_what_was_not_measured_nothing():
    swapped = [point(predicted_s=4.0), point(system="chain", measured_s=4.0)]
    assert named(frame(*swapped))["fidelity.same_ranking"] == (0.0,)
    assert list(named(frame(point(in_sample=True)))) == ["fidelity.hollow_share"]


def test_every_claim_of_fidelity_is_about_a_metric_that_there_is():
    names = {"fidelity.same_ranking", "fidelity.times.median_error", "fidelity.times.p90_error"}
    names |= {"fidelity.ttft.p50_error", "fidelity.ttft.p90_error"}
    claims = [claim for claim in book().claims if claim.notebook == "03_fidelity"]
    assert claims
    for claim in claims:
        assert fnmatch.filter(names, claim.metric), claim.id


def test_the_line_has_neither_a_negative_slope_nor_a_negative_intercept():
    x = np.array([1.0, 2.0, 3.0])
    assert line(x, 2 * x + 3) == pytest.approx((2, 3))
    assert line(x, 3 - x) == pytest.approx((0, 1))
    slope, intercept = line(x, 2 * x - 1)
    assert intercept == 0
    assert 3 / 2 <= slope <= 5 / 3  # all of these are as good


def test_a_few_blocks_that_were_held_up_do_not_bend_the_line():
    x = np.arange(20.0)
    late = np.where(np.isin(x, [3, 8, 15]), 50.0, 0.0)
    assert line(x, 2 * x + 3 + late) == pytest.approx((2, 3), abs=1e-3)


def test_the_fit_finds_the_costs_that_made_the_times():
    made = simulated(KNOWN, Conditions(latency_s=2e-3, decision_s=0.03), step_s=0.004)
    found = fit(made, lambda conditions: simulated(KNOWN, conditions))
    assert found.latency_s == pytest.approx(2e-3, rel=0.05)
    assert found.decision_s == pytest.approx(0.03, rel=0.05)
    assert found.step_s == pytest.approx(0.004, rel=0.05)
    assert found.residual_s < 1e-4


def test_runs_whose_devices_were_too_slow_are_not_fitted():
    made = simulated(KNOWN, Conditions(latency_s=2e-3, decision_s=0.03), step_s=0.004)
    (slow,) = simulated([KNOWN[1]], Conditions(decision_s=0.5))
    spoilt = [made[0], replace(slow, nodes=slow.nodes.assign(overruns=1)), *made[2:]]
    found = fit(spoilt, lambda conditions: simulated(KNOWN, conditions))
    assert found.decision_s == pytest.approx(0.03, rel=0.1)


def test_a_backlog_is_the_same_each_time_and_there_is_none_without_serving():
    assert backlog(Trial(4, 1, 8), 512) == ()
    requests = backlog(Trial(4, 1, 8, serves=True), 512)
    assert requests == backlog(Trial(4, 1, 8, serves=True), 512)
    assert len({request.prompt for request in requests}) == len(requests) == 24


def test_real_processes_and_the_simulator_are_compared():
    """How close they are is not tested but reported: other work on the machine decides that."""
    trials = [Trial(2, 1, 4), Trial(3, 1, 8, serves=True), Trial(2, 1, 32)]
    seen: list[Trial] = []
    found = measure(trials, copy_s=0.6, step_s=0.08, watch=seen.append)
    assert seen == trials
    table = found.points.set_index(["blocks", "metric"])
    assert len(table) == 2 + 8 + 2
    assert list(table["in_sample"]) == [True] * 10 + [False] * 2
    assert (table.loc[(32, "complete"), ["measured_s", "predicted_s"]] >= 0.6).all()
    assert table["provenance"].unique().tolist() == ["emulated, simulated"]
    assert found.fitted["num_blocks"].tolist() == [4]
