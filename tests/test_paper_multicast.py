"""Figure 7 is what the runs say, beside the authors' records; its metrics are those that claims wait for."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from lambdascale.claims.book import book
from lambdascale.experiments import paper_multicast, recorded
from lambdascale.experiments.cached import run_each
from lambdascale.experiments.paper_scale import testbed_of as place_of
from lambdascale.experiments.paper_scale import wire_s
from lambdascale.figures import multicast_bars

POINTS = {"llama-2-7b": (2, 4), "llama-2-70b": (4,)}


@pytest.fixture(scope="module")
def latency() -> pd.DataFrame:
    systems = ("lambdascale-paper", "faasnet", "nccl", "nccl-warm", "star")
    return paper_multicast.latency(run_each(paper_multicast.specs(POINTS, systems)))


def test_a_seed_takes_one_copy_per_receiver_and_a_warm_ring_little_more_than_one(latency):
    at = paper_multicast.by_point(latency)["7B", 4]
    assert at["star"] == pytest.approx(3 * wire_s("llama-2-7b"), rel=0.01)
    assert at["nccl-warm"] == pytest.approx(wire_s("llama-2-7b"), rel=0.02)


def test_records_stand_beside_the_runs_that_they_are_of(latency):
    row = latency.query("size == '7B' and nodes == 4 and system == 'faasnet'").iloc[0]
    assert row["recorded_s"] == recorded.MULTICASTS["faasnet"]["llama-2-7b"][4]
    assert np.isnan(latency.query("system == 'star'")["recorded_s"]).all()


def test_only_warm_nccl_goes_over_nvlink_and_only_with_70b():
    rates = {name: place_of("llama-2-70b", name).link_gbps for name in ("nccl", "nccl-warm")}
    assert rates["nccl-warm"] > rates["nccl"]
    assert place_of("llama-2-13b", "nccl-warm") == place_of("llama-2-13b", "faasnet")


def test_neighbours_are_next_in_nodes_or_next_in_size():
    seconds = {("7B", 4): {}, ("7B", 8): {}, ("13B", 8): {}, ("70B", 2): {}}
    pairs = paper_multicast.neighbours(seconds)
    assert pairs == [(("7B", 4), ("7B", 8)), (("7B", 8), ("13B", 8))]


def test_ratios_to_one_node_are_no_part_of_the_claim_on_trees(latency):
    names = [metric.name for metric in paper_multicast.metrics(latency)]
    (claim,) = (claim for claim in book().claims if claim.id == "fig07-faasnet")
    matched = [name for name in names if claim.is_about(name)]
    assert matched == [
        "fig07.7b.4.faasnet_over_lambdascale_paper",
        "fig07.70b.4.faasnet_over_lambdascale_paper",
    ]
    assert "fig07.7b.2.faasnet_over_lambdascale_paper_to_one_node" in names


def test_every_run_is_a_bar_and_every_record_a_mark(latency):
    sheet = multicast_bars.draw(latency, provenance="simulated")
    bars = [p for panel in sheet.axes for p in panel.patches if isinstance(p, Rectangle)]
    marks = [line for panel in sheet.axes for line in panel.lines if line.get_gid() == "recorded"]
    assert len(bars) == len(latency)
    assert len(marks) == latency["recorded_s"].notna().sum()
