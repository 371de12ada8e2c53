"""Figure 6 shows steps that were executed: in order, one at a time per node, by the stages of pipelines."""

import pytest

from lambdascale.experiments import paper_pipelines, pipeline_spans
from lambdascale.experiments.paper_pipelines import Observed
from lambdascale.figures import spans

MODEL = "llama-2-7b"


@pytest.fixture(scope="module")
def runs() -> dict[str, Observed]:
    return paper_pipelines.two_dimensional(MODEL, num_nodes=4, num_sources=2)


@pytest.fixture(scope="module")
def hosts() -> Observed:
    return paper_pipelines.replicated(MODEL, num_hosts=4, num_gpus=2)


def test_a_node_executes_one_step_at_a_time(runs):
    for run in runs.values():
        for _, steps in run.steps.groupby("node"):
            times = steps.sort_values("start_s")
            assert (times["start_s"].to_numpy()[1:] >= times["end_s"].to_numpy()[:-1] - 1e-9).all()


def test_a_token_needs_every_stage_one_after_the_other(runs):
    run = runs["lambdascale: free-running"]
    steps = run.in_pipelines()
    slot = steps[steps["slot"] == steps["slot"].iloc[0]].sort_values("start_s")
    stages = run.pipelines["first"].nunique()
    assert (slot["first"].to_numpy()[:stages] == sorted(run.pipelines["first"])).all()
    assert (slot["start_s"].to_numpy()[1:] >= slot["end_s"].to_numpy()[:-1] - 1e-9).all()


def test_lock_step_leaves_nodes_idle_and_free_running_ones_do_not_wait(runs):
    busy = {m.name: m.values[0] for m in pipeline_spans.pipeline_metrics(runs)}
    assert busy["fig06.lambdascale_paper.pipeline_busy"] < 0.6
    assert busy["fig06.lambdascale.pipeline_busy"] > 0.8


def test_an_instance_of_two_gpus_serves_with_gpus_of_others():
    run = paper_pipelines.spanning(MODEL, num_instances=6, num_gpus=2)
    members = run.pipelines["node"] // 2
    assert members.nunique() > 1
    assert pipeline_spans.early_metric("x", run).values[0] < 1


def test_blocks_come_to_a_host_once(hosts):
    assert pipeline_spans.network_metric(hosts, 2).values == (1.0,)
    frame = pipeline_spans.arrival_spans(hosts, pipeline_spans.names(0, 8, 2, "host"), 2)
    kinds = frame[frame["panel"] == "blocks arrive"].groupby("row")["kind"].unique()
    assert kinds["host 2: GPU 0"] == [pipeline_spans.FAR]
    assert kinds["host 2: GPU 1"] == [pipeline_spans.NEAR]


def test_every_row_is_drawn_even_if_nothing_happened_in_it(runs):
    rows = pipeline_spans.names(0, 4)
    frame = pipeline_spans.stage_spans(runs, rows, 0.1)
    sheet = spans.draw(frame, provenance="simulated", title="t", together=True)
    for panel in sheet.axes:
        assert [label.get_text() for label in panel.get_yticklabels()] == list(rows.values())
    assert len({panel.get_xlim() for panel in sheet.axes}) == 1
