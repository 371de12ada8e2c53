"""Figure 8: who ramps up when follows from the runs, and is drawn as it is counted."""

import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from lambdascale.experiments import paper_ramp
from lambdascale.experiments.cached import replay_each
from lambdascale.experiments.paper_scale import wire_s
from lambdascale.experiments.results import RunResult
from lambdascale.figures import throughput_ramp
from lambdascale.workload.authors import BATCH, OUTPUT_TOKENS

MODEL, NODES = "llama-2-7b", 4
SYSTEMS = ("lambdascale-paper", "lambdascale", "faasnet", "nccl", "serverlessllm")


@pytest.fixture(scope="module")
def runs() -> RunResult:
    return replay_each(paper_ramp.cases(MODEL, NODES, (2,), SYSTEMS))


@pytest.fixture(scope="module")
def ramps(runs: RunResult) -> pd.DataFrame:
    return paper_ramp.ramps(runs).set_index("system")


def test_every_token_of_every_sequence_is_counted_once(runs: RunResult):
    table = paper_ramp.throughput(runs)
    width = table["from_s"].iloc[1]
    made = (table["tokens_per_s"] * width).groupby(table["system"]).sum()
    assert made.to_numpy() == pytest.approx(50 * OUTPUT_TOKENS * BATCH)


def test_only_systems_that_execute_while_they_load_ramp_up_before_they_have_loaded(ramps):
    early = ramps.index[ramps["ramp_s"] < ramps["loaded_s"]]
    assert set(early) == {"lambdascale-paper", "lambdascale"}
    assert ramps["plateau"].notna().sum() == 2


def test_nobody_is_served_before_its_share_of_a_copy_can_be_there(ramps):
    assert (ramps.loc["lambdascale", "ramp_s"]) > wire_s(MODEL) / 2
    assert ramps.loc["serverlessllm", "ramp_s"] > 2.5, "seconds of SSD"


def test_loading_first_differs_in_that_alone():
    (on, rows), (off, _) = paper_ramp.loading_first(MODEL, NODES, (2,), ["lambdascale"])
    assert len(rows) == 50
    assert (on.system.execute_while_load, off.system.execute_while_load) == (True, False)
    assert (on.policy, on.num_blocks) == (off.policy, off.num_blocks)


def test_nodes_may_hold_the_model_in_host_memory_alone():
    ((spec, _),) = paper_ramp.from_host(MODEL, 8, (8,), ["lambdascale"])
    assert (spec.initial_gpu, spec.initial_host, spec.num_nodes) == (0, 8, 8)


def test_a_line_per_system_stands_on_both_sides_and_a_mark_on_the_near_one(runs, ramps):
    table = ramps.reset_index()
    sheet = throughput_ramp.draw(
        paper_ramp.throughput(runs),
        table,
        provenance="simulated",
        title="t",
        zoom=paper_ramp.zooms(table),
    )
    near, far = sheet.axes
    for panel in (near, far):
        assert [p.get_gid() for p in panel.patches if isinstance(p, StepPatch)] == list(SYSTEMS)
    assert len([line for line in near.lines if line.get_gid() == "ramp"]) == len(SYSTEMS)
    assert near.get_xlim()[1] < far.get_xlim()[1]


def test_claims_are_reported_under_their_names(ramps):
    names = {m.name: m.values for m in paper_ramp.fig08_metrics(ramps.reset_index())}
    assert names["fig08.order.earliest"] == (1.0,)
    assert "fig08.7b.k2.lambdascale_paper_ramp_s" in names
