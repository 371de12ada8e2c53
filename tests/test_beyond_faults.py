"""What a fault costs: changed blocks in simulated runs, deaths as planned, and the figure of both."""

import math

import pandas as pd
import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments import beyond_faults as study
from lambdascale.experiments.cached import replay_each
from lambdascale.figures import faults

MODEL = "llama-2-7b"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    cases = study.cases(MODEL, 2, [0.05], num_seeds=1)
    return study.corrupted_table(replay_each(cases), cases)


@pytest.fixture(scope="module")
def deaths() -> pd.DataFrame:
    return study.deaths_table(MODEL, [5])


def test_changed_blocks_delay_the_last_receiver_and_change_no_token(runs: pd.DataFrame) -> None:
    assert list(runs["system"].unique()) == list(study.SYSTEMS)
    assert (runs["right"] == 1).all()
    healthy, disturbed = runs[runs["share"] == 0], runs[runs["share"] > 0]
    assert (healthy["resent"] == 0).all()
    assert (healthy["last_s"] == healthy["healthy_s"]).all()
    assert disturbed["resent"].sum() > 0
    assert (disturbed["last_s"] >= disturbed["healthy_s"]).all()
    assert study.corrupted(runs)["over_healthy"].max() > 1


def test_a_repair_ends_before_a_restart_unless_blocks_are_lost(deaths: pd.DataFrame) -> None:
    assert len(deaths) == 2 * len(study.MOMENTS) * 5
    lost = deaths["lost"] > 0
    assert (lost == ((deaths["sources"] == 1) & (deaths["role"] == "source"))).all()
    assert (deaths.loc[lost, [f"{way}_s" for way in study.WAYS]] == math.inf).all(axis=None)
    kept = deaths[~lost]
    assert (kept["in_step_s"] < kept["restarted_s"]).all()
    assert (kept[["repaired_s", "in_step_s"]].min(axis=1) >= 0.99 * kept["undisturbed_s"]).all()


def test_the_later_the_only_source_dies_the_fewer_blocks_are_lost(deaths: pd.DataFrame) -> None:
    alone = deaths[(deaths["sources"] == 1) & (deaths["role"] == "source")]
    assert alone["lost"].is_monotonic_decreasing
    assert alone["lost"].iloc[0] < alone["blocks"].iloc[0]


def test_metrics_say_what_is_lost_instead_of_when_it_would_be_there(
    runs: pd.DataFrame, deaths: pd.DataFrame
) -> None:
    found = {m.name: m.values for m in study.metrics(runs, deaths)}
    assert "beyond.faults.corrupt.2.lambdascale.0_05.last_over_healthy" in found
    assert found["beyond.faults.corrupt.2.star.tokens_right"] == (1, 1)
    assert len(found["beyond.faults.source_dies.5.k1.lost_share"]) == len(study.MOMENTS)
    assert "beyond.faults.source_dies.5.k1.repaired_over_undisturbed" not in found
    assert all(map(math.isfinite, (v for values in found.values() for v in values)))


def test_every_run_and_every_death_with_two_sources_is_a_mark(
    runs: pd.DataFrame, deaths: pd.DataFrame
) -> None:
    changed, died = faults.draw(runs, deaths, "simulated").axes
    marks = [line for line in changed.lines if line.get_gid() == "runs"]
    drawn = sorted(float(y) for line in marks for y in line.get_ydata())
    assert drawn == sorted(runs["last_s"] / runs["healthy_s"])
    two = deaths[deaths["sources"] == 2]
    marks = [line for line in died.lines if line.get_gid() == "deaths"]
    drawn = sorted(float(y) for line in marks for y in line.get_ydata())
    assert drawn == sorted(y for way in study.WAYS for y in two[f"{way}_s"] / two["wire_s"])


def test_a_figure_without_deaths_is_refused(runs: pd.DataFrame, deaths: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="deaths has no rows"):
        faults.draw(runs, deaths[:0], "simulated")
