"""The ablation switches off one thing at a time, at a stated cost."""

import pandas as pd
import pytest

from lambdascale.experiments import paper_ablation
from lambdascale.experiments.cached import run_each
from lambdascale.experiments.paper_scale import nbytes_of
from lambdascale.figures import ablation
from lambdascale.sim.hardware import TESTBED1
from lambdascale.units import gbps

MODEL, NODES = "llama-2-7b", 4


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return paper_ablation.table(run_each(paper_ablation.specs(MODEL, NODES, (10, 20))))


def test_host_memory_rdma_saves_the_sources_own_load(rows):
    complete = rows.query("piece_us == 20").set_index("configuration")["complete_s"]
    load_s = nbytes_of(MODEL) / gbps(TESTBED1.pcie_gbps)
    saved_s = complete["no host-memory RDMA"] - complete["as it is"]
    assert saved_s == pytest.approx(load_s, rel=0.01)


def test_a_block_costs_more_by_its_pieces(rows):
    block = rows.set_index(["configuration", "piece_us"])["block_s"]
    pieces = nbytes_of(MODEL) / 16 / paper_ablation.PIECE_NBYTES
    for us in (10, 20):
        more_s = block["no packing", us] - block["as it is", us]
        assert more_s == pytest.approx(pieces * us * 1e-6, rel=0.01)


def test_the_unoptimised_block_is_reported_for_every_cost(rows):
    found = {m.name: m.values for m in paper_ablation.metrics(rows)}
    low, high = found["tr.ablation.unoptimised_block_s"]
    assert 0.02 < low < high
    assert len(set(found["tr.ablation.optimised_block_s"])) == 1


def test_every_configuration_is_a_bar_and_a_line(rows):
    sheet = ablation.draw(rows, provenance="simulated", title="t", piece_us=20)
    bars, lines = sheet.axes
    assert len(bars.patches) == len(paper_ablation.OFF)
    named = [line.get_gid() for line in lines.lines if line.get_gid() in paper_ablation.OFF]
    assert named == list(paper_ablation.OFF)
