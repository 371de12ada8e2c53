"""Block count and k-way order: what the schedules say is what the runs do."""

import pandas as pd
import pytest

from lambdascale.experiments import paper_blocks
from lambdascale.experiments.cached import run_each
from lambdascale.experiments.paper_scale import nbytes_of, wire_s
from lambdascale.experiments.recorded import LAMBDASCALE_RATE, ROUND_S
from lambdascale.experiments.results import RunResult
from lambdascale.figures import joint_coverage, over_blocks

MODEL = "llama-2-7b"


@pytest.fixture(scope="module")
def times() -> pd.DataFrame:
    specs = paper_blocks.block_specs(MODEL, 4, (1, 2), (4, 16))
    return paper_blocks.times(run_each(specs))


@pytest.fixture(scope="module")
def orders() -> RunResult:
    return run_each(paper_blocks.order_specs(MODEL, 8, (2, 4), 16))


def test_the_papers_system_takes_its_rounds_and_nothing_else(times):
    papers = times.query("system == 'lambdascale-paper' and k == 1")
    for blocks, seconds in zip(papers["blocks"], papers["complete_s"], strict=True):
        round_s = ROUND_S + nbytes_of(MODEL) / blocks / LAMBDASCALE_RATE
        assert seconds == pytest.approx((blocks + 1) * round_s, rel=0.02)


def test_ours_is_also_cut_as_it_would_be_by_itself(times):
    ours = times.query("system == 'lambdascale' and k == 1")
    assert ours["chosen"].sum() == 1
    assert ours.loc[ours["chosen"], "complete_s"].iloc[0] < 1.05 * wire_s(MODEL)
    assert not times.query("system == 'lambdascale-paper'")["chosen"].any()


def test_one_source_makes_no_pipeline_of_several_nodes_and_two_do(times):
    assert times.query("k == 1")["stages"].max() <= 1, "a complete node may wait for its group"
    assert times.query("k == 2 and not chosen")["pipeline_s"].notna().all()


def test_orders_change_when_the_model_is_covered_and_not_when_it_is_complete(orders):
    table = paper_blocks.times(orders)
    for _, part in table.groupby("k"):
        assert part["complete_s"].nunique() == 1
    covered = table.set_index(["k", "order"])["covered_s"]
    assert covered[4, "full"] < covered[4, "half"] < covered[4, "off"]
    assert covered[2, "half"] == covered[2, "off"], "half of two orders is one"
    (earlier,) = [m for m in paper_blocks.order_metrics(table) if m.name.endswith("earlier")]
    assert earlier.values == (1.0,) * 4


def test_coverage_is_drawn_up_to_the_whole_model(orders):
    frame = paper_blocks.coverage(orders)
    sheet = joint_coverage.draw(frame, provenance="simulated", title="t")
    for panel in sheet.axes:
        assert [line.get_gid() for line in panel.lines] == list(paper_blocks.ORDERS)
        assert all(line.get_ydata()[-1] == 1 for line in panel.lines)


def test_curves_have_a_panel_for_the_copy_and_one_per_k_for_the_first_pipeline(times):
    sheet = over_blocks.draw(paper_blocks.curves(times), provenance="simulated", title="t")
    assert [panel.get_title("left") for panel in sheet.axes] == [
        "k = 1, 4 nodes: until every node has every block",
        "k = 2, 4 nodes: until the first pipeline",
    ]
