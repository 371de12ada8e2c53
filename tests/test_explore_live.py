"""The live chart follows from the records, is drawn seldom, and its first state is there."""

import re
from xml.etree import ElementTree

import pytest

from lambdascale.cluster.records import (
    BlockRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    TokenRecord,
)
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.run import run
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.explore.gantt import MOST_BARS, Gantt
from lambdascale.explore.live import Live
from lambdascale.figures.style import KIND_COLORS
from lambdascale.pipeline.stages import Stage

PIPELINE = PipelineRecord(5, "pipeline", (Stage(1, 0, 4), Stage(2, 4, 8)), 0.5, True)


@pytest.fixture
def gantt() -> Gantt:
    return Gantt(num_nodes=3, sources=1, num_blocks=4, provenance="emulated")


def lanes(gantt: Gantt, kind: str) -> int:
    """How many bars of the serving lane have this kind, the legend left out."""
    return gantt.svg().count(f'fill="{KIND_COLORS[kind]}"') - 1 - (kind == "pipeline")


def see(gantt: Gantt, *records: Record) -> Gantt:
    for record in records:
        gantt.see(record)
    return gantt


def test_the_first_picture_has_every_node_and_no_block(gantt: Gantt) -> None:
    svg = gantt.svg()
    ElementTree.fromstring(svg)
    assert [f"node {n}<" in svg for n in range(4)] == [True, True, True, False]
    assert svg.count("holds every block") == 1
    assert svg.count("0/4") == 2
    assert "starting" in svg
    assert "emulated" in svg


def test_a_block_is_a_bar_that_ends_at_its_arrival(gantt: Gantt) -> None:
    see(gantt, *(BlockRecord(2, b, 0, 0.1 * (b + 1), 0.1 * (b + 1)) for b in range(4)))
    svg = gantt.svg()
    assert "4/4" in svg
    assert svg.count("0/4") == 1
    ends = [
        float(x) + float(width)
        for x, width in re.findall(r'<rect x="([\d.]+)" y="102" width="([\d.]+)"', svg)
    ]
    assert ends == pytest.approx([262, 460, 658, 856], abs=0.2)


def test_a_pipeline_is_a_bar_on_each_of_its_nodes_until_it_is_dissolved(gantt: Gantt) -> None:
    assert lanes(gantt, "pipeline") == 0
    assert lanes(see(gantt, PIPELINE), "pipeline") == 2
    dissolved = PipelineRecord(5, "pipeline", PIPELINE.stages, 0.9, False)
    replica = PipelineRecord(6, "replica", (Stage(1, 0, 8),), 1.0, True)
    see(gantt, dissolved, replica)
    assert (lanes(gantt, "pipeline"), lanes(gantt, "replica")) == (2, 1)


def test_the_line_says_phase_time_and_tokens(gantt: Gantt) -> None:
    token = TokenRecord(0, 0, 7, 1.25, 1, 5, "pipeline", False)
    assert "covered · 1.25 s · 1 tokens" in see(gantt, PhaseRecord("covered", 0.4), token).svg()


def test_a_long_run_is_drawn_in_bounded_space(gantt: Gantt) -> None:
    see(gantt, *(BlockRecord(1, i % 4, 0, i * 0.01, i * 0.01) for i in range(3 * MOST_BARS)))
    assert gantt.svg().count("<rect") < MOST_BARS + 10


def test_a_run_shows_its_end_and_is_not_drawn_at_every_record() -> None:
    spec = RunSpec(
        model="llama-2-7b",
        dtype="float16",
        scale=ScaleSpec(2, 4),
        max_tokens=8,
        link_gbps=400,
        device=DeviceModel(1e12, 4e14),
        clock="virtual",
    )
    chart = Live(spec, clock=lambda: 0.0)  # time stands still: only the beginning and the end
    sent: list[str] = []
    first = str(chart._repr_mimebundle_()["image/svg+xml"])
    chart.box.observe(lambda change: sent.append(change["new"]), "value")
    run(spec, chart, symbolic_inputs(spec, num_requests=8, prompt_tokens=4))
    assert "0/16" in first
    assert len(sent) == 1
    assert "finished" in sent[0]
    assert sent[0].count("16/16") == 2
