"""Scale-outs in which nodes die, as experiments tell of them: ours, a restart from zero, and the figures."""

from dataclasses import replace

import pytest
from virtual import MODEL, Cluster, some_requests, virtual_spec

from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments import recovery_study as study
from lambdascale.experiments.cached import run_each
from lambdascale.experiments.results import RunResult
from lambdascale.figures import recovery, restart
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.reference import reference_tokens

MOMENTS = (0.3, 0.8)
NODES, SOURCES, BLOCKS = 6, 2, 16


@pytest.fixture(scope="module")
def result() -> RunResult:
    return run_each(study.scale_outs("llama-2-7b", 4, 2, MOMENTS))


@pytest.mark.parametrize("victim", [0, 1, 3, 5])
@pytest.mark.parametrize("at_s", [0.0, 0.3, 0.7])
def test_a_system_without_repairs_begins_again_and_answers_everything(victim: int, at_s: float):
    spec = study.restarting(virtual_spec(SOURCES, NODES, BLOCKS))
    cluster = Cluster(study.dying(spec, ((victim, at_s),)), some_requests(8))
    result = cluster.run()
    assert result.outputs() == reference_tokens(MODEL, cluster.inputs.requests)
    assert list(result.losses["node"]) == [victim]
    (loss,) = result.losses.to_dict("records")
    left = result.blocks[result.blocks["verified_s"] > loss["planned_s"]]
    survivors = [node for node in range(SOURCES, NODES) if node != victim]
    assert left.groupby("node")["block"].nunique().to_dict() == dict.fromkeys(survivors, BLOCKS)
    assert loss["num_sends"] == 0


def test_two_deaths_are_two_restarts_and_nodes_may_die_while_it_begins_again():
    healthy = study.restarting(virtual_spec(SOURCES, NODES, BLOCKS))
    deaths = ((2, 0.3), (0, 0.3 + 2e-3), (4, 0.9))
    cluster = Cluster(study.dying(healthy, deaths), some_requests(8))
    result = cluster.run()
    assert result.outputs() == reference_tokens(MODEL, cluster.inputs.requests)
    assert list(result.losses["node"]) == [2, 0, 4]


def test_what_serves_mid_load_cannot_begin_again():
    with pytest.raises(ConfigError, match="repairs is False"):
        SystemSpec(repairs=False)
    with pytest.raises(ConfigError, match="repairs is False"):
        SystemSpec(repairs=False, execute_while_load=False)


def test_deaths_are_of_nodes_that_there_are_and_after_the_start():
    with pytest.raises(ConfigError, match="death of node 1 is -1"):
        Conditions(deaths=((1, -1),))
    with pytest.raises(ConfigError, match="node 7, which is none of 0 to 5"):
        study.dying(virtual_spec(SOURCES, NODES), ((7, 0.1),))


def test_who_is_to_die_after_the_end_lives():
    spec = study.dying(virtual_spec(1, 2), ((1, 1e9),))
    assert Cluster(spec, some_requests(2)).run().losses.empty


def test_a_restart_sends_again_what_a_repair_keeps(result: RunResult):
    table = study.table(result, MOMENTS).set_index(["way", "role", "at"])
    ours, again = table.loc[study.OURS], table.loc[study.RESTART]
    assert (ours["resent_gb"] == 0).all()
    assert (ours["complete_s"] <= 1.15 * ours["healthy_s"]).all()
    assert (again["resent_gb"] > 0).all()
    assert (
        again["complete_s"] > (1 + again.index.get_level_values("at")) * 0.95 * ours["healthy_s"]
    ).all()
    names = {m.name for m in study.metrics(table.reset_index())}
    assert "faults.restart.complete_over_healthy" in names


def test_what_a_node_holds_rises_to_all_and_ends_with_it(result: RunResult):
    held = study.held(result)
    mine = held[held["run"] == study.label(study.RESTART, "receiver", MOMENTS[1])]
    sources = mine[mine["node"] < 2]
    assert (sources["share"] == 1).all()
    dead, survivor = (mine.loc[mine["node"] == node, "share"] for node in (3, 2))
    assert dead.iloc[-1] == 0
    assert survivor.iloc[-1] == 1
    assert (survivor.diff() < 0).sum() == 1, "it drops what it has, once"


def test_requests_have_moved_if_who_answered_them_died_and_not_if_they_were_switched():
    healthy = virtual_spec(SOURCES, NODES, BLOCKS)
    requests = some_requests(24, max_tokens=96)
    undisturbed = Cluster(healthy, requests).run()
    assert undisturbed.tokens.groupby("request")["pipeline"].nunique().max() > 1, "some switch"
    assert study.moved(undisturbed) == set()
    first = undisturbed.tokens.sort_values("time_s").iloc[0]
    death = (int(first["node"]), float(first["time_s"]) + 1e-4)
    result = Cluster(study.dying(healthy, (death,)), requests).run()
    answered = result.tokens[result.tokens["time_s"] < result.losses["time_s"].item()]
    theirs = answered[answered["node"] == death[0]]
    assert theirs["request"].nunique()
    assert study.moved(result) == set(theirs["request"])


def test_every_death_and_first_token_is_a_mark():
    spec = replace(virtual_spec(SOURCES, NODES, BLOCKS), label="three die")
    spec = study.dying(spec, ((3, 0.6), (0, 0.7), (5, 0.8)))
    result = Cluster(spec, some_requests(8)).run()
    frames = study.timeline(result)
    (panel,) = recovery.draw(*frames, provenance="simulated", title="Three die").axes
    marks = [
        (x, y) for line in panel.lines if line.get_gid() == "deaths" for x, y in line.get_xydata()
    ]
    losses = result.losses
    assert marks == list(zip(losses["time_s"], losses["node"], strict=True))
    (tokens,) = [line for line in panel.lines if line.get_gid() == "tokens"]
    assert len(tokens.get_xydata()) == result.tokens["node"].nunique()


def test_both_panels_have_a_mark_per_death(result: RunResult):
    table = study.table(result, MOMENTS)
    late, again = restart.draw(table, provenance="simulated").axes
    for panel, values in (
        (late, table["complete_s"] / table["healthy_s"]),
        (again, table["resent_gb"]),
    ):
        lines = [line for line in panel.lines if line.get_gid() == "deaths"]
        assert sorted(y for line in lines for y in line.get_ydata()) == sorted(values)
