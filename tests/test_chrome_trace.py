"""The Chrome trace of a run: what a viewer needs, phases that tile, and every row of the tables."""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny import TinyModel

from lambdascale.cluster.records import (
    SCALE_PHASES,
    AllocationRecord,
    BlockRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    ResidencyRecord,
    ScaleRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.config import ScaleSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.chrome_trace import chrome_trace, save_chrome_trace
from lambdascale.experiments.prompts import questions
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import run
from lambdascale.experiments.spec import RunSpec
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request

Event = dict[str, Any]

STAGES = (Stage(1, 0, 3), Stage(2, 3, 6))
RECORDS: list[Record] = [
    PhaseRecord("called", -1.5),
    PhaseRecord("started", 0.0),
    AllocationRecord("a", 0, 0.0, allocated=True),
    ResidencyRecord("a", 0, "host", 0.0, resident=True),
    ResidencyRecord("b", 0, "host", 1.0, resident=True),
    ResidencyRecord("a", 0, "host", 2.0, resident=False),
    *(ScaleRecord(4, "a", phase, i / 7) for i, phase in enumerate(SCALE_PHASES)),
    *(ScaleRecord(5, "a", phase, 1 + i / 3) for i, phase in enumerate(SCALE_PHASES[:4])),
    StartRecord(4, "a", 1, "warm", 0.25),
    AllocationRecord("a", 1, 0.25, allocated=True),
    BlockRecord(1, 0, 1, 0.5, 0.51, "a", "host"),
    BlockRecord(1, 1, 0, 0.5, 0.51, "a", "network"),
    BlockRecord(1, 2, 0, 0.75, 0.76, "a", "network"),
    PipelineRecord(1, "pipeline", STAGES, 0.75, formed=True, model="a"),
    TokenRecord(0, 0, 5, 1.0, 1, 1, "pipeline", last=False),
    PipelineRecord(2, "replica", (Stage(1, 0, 6),), 1.25, formed=True, model="a"),
    PipelineRecord(1, "pipeline", STAGES, 1.5, formed=False, model="a"),
    SwitchRecord(0, 1, "recompute", 3, 0.1, float("inf"), 1.5),
    TokenRecord(0, 1, 5, 2.0, 1, 2, "replica", last=True),
    AllocationRecord("a", 1, 3.0, allocated=False),
    PhaseRecord("finished", 3.5),
]
ZERO = 1_500_000  # microseconds from the first event to the start of the run


@pytest.fixture
def parsed(tmp_path: Path) -> list[Event]:
    """The events of RECORDS, as a viewer reads them."""
    requests = [Request(0, (1, 2), 2, model="a"), Request(1, (1,), 2, arrival_s=0.5, model="a")]
    save_chrome_trace(RunResult.of(RunSpec(), RECORDS, requests), tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert trace["otherData"] == {"run": "lambdascale", "provenance": "measured"}
    return trace["traceEvents"]


def named(events: list[Event]) -> dict[tuple[str, str], list[Event]]:
    """Events by the names of their process and thread (of a counter: its own name)."""
    names = {
        (e["name"], e["pid"], e["tid"]): e["args"].get("name") for e in events if e["ph"] == "M"
    }
    found: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] != "M":
            thread = names.get(("thread_name", event["pid"], event["tid"]), event["name"])
            found[names["process_name", event["pid"], 0], thread].append(event)
    return found


def spans(events: list[Event]) -> list[tuple[str, int, int]]:
    """Name, start and end in microseconds since the run started."""
    return [(e["name"], e["ts"] - ZERO, e["ts"] - ZERO + e["dur"]) for e in events]


def check(events: list[Event]) -> None:
    """What the format asks of every event, whatever the run."""
    times = [event["ts"] for event in events if event["ph"] != "M"]
    assert times == sorted(times)
    assert min(times) >= 0
    assert {event["ph"] for event in events} <= {"M", "X", "i", "C"}
    for event in events:
        assert event["pid"] >= 1
        assert isinstance(event["name"], str)
        assert isinstance(event.get("ts", 0), int)
        assert event.get("dur", 0) >= 0
        assert ("dur" in event) == (event["ph"] == "X")
        assert event["tid"] >= 1 or event["ph"] in "MC"
    for thread in named(events).values():
        lane = [event for event in thread if event["ph"] == "X"]
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(lane))


def test_events_are_what_the_format_asks_for(parsed: list[Event]):
    check(parsed)


def test_every_process_and_thread_has_a_name(parsed: list[Event]):
    assert set(named(parsed)) == {
        ("cluster", "phases"),
        ("cluster", "nodes assigned to a"),
        ("cluster", "requests waiting for a first token"),
        ("cluster", "requests being answered"),
        ("node 0", "assigned to"),
        ("node 0", "host memory holds"),
        ("node 0", "host memory holds (2)"),
        ("node 1", "blocks in flight (network)"),
        ("node 1", "blocks in flight (host)"),
        ("node 1", "serves as"),
        ("node 1", "serves as (2)"),
        ("node 1", "requests moved here"),
        ("node 1", "assigned to"),
        ("node 2", "serves as"),
        ("model a", "scale-out 4"),
        ("model a", "scale-out 5"),
        ("model a", "starts"),
    }


@pytest.mark.parametrize(
    ("scale_out", "end"), [("scale-out 4", (len(SCALE_PHASES) - 1) / 7), ("scale-out 5", 2.0)]
)
def test_the_phases_of_a_scale_out_are_spans_without_gap_or_overlap(
    parsed: list[Event], scale_out: str, end: float
):
    phases = spans(named(parsed)["model a", scale_out])
    assert [name for name, _, _ in phases] == list(SCALE_PHASES[1 : len(phases) + 1])
    assert all(before[2] == after[1] for before, after in pairwise(phases))
    assert phases[-1][2] == round(end * 1e6)


def test_what_has_no_end_lasts_until_the_run_ends(parsed: list[Event]):
    by_name = named(parsed)
    assert spans(by_name["node 0", "assigned to"]) == [("a", 0, 3_500_000)]
    assert spans(by_name["node 0", "host memory holds (2)"]) == [("b", 1_000_000, 3_500_000)]
    assert spans(by_name["node 1", "serves as (2)"]) == [("replica of a", 1_250_000, 3_500_000)]
    stage = ("pipeline 1, parts 0–2 of a", 750_000, 1_500_000)
    assert spans(by_name["node 1", "serves as"]) == [stage]


def test_set_up_comes_first_and_the_run_starts_after_it(parsed: list[Event]):
    started, finished = spans(named(parsed)["cluster", "phases"])
    assert started == ("started", -ZERO, 0)
    assert finished == ("finished", 0, 3_500_000)


def test_blocks_end_where_they_arrived_and_are_kept_apart_by_origin(parsed: list[Event]):
    by_name = named(parsed)
    network = by_name["node 1", "blocks in flight (network)"]
    assert [(name, stop) for name, _, stop in spans(network)] == [
        ("block 1", 500_000),
        ("block 2", 750_000),
    ]
    assert network[1]["args"] == {"src": 0, "model": "a", "verified_s": 0.76}
    assert len(by_name["node 1", "blocks in flight (host)"]) == 1


def test_a_switch_is_a_moment_with_both_costs(parsed: list[Event]):
    (moved,) = named(parsed)["node 1", "requests moved here"]
    assert (moved["ph"], moved["name"]) == ("i", "request 0: recompute")
    assert moved["args"] == {"tokens": 3, "recompute_s": 0.1, "transfer_s": "inf"}


def test_counters_follow_the_tables(parsed: list[Event]):
    def curve(name: str) -> list[tuple[int, int]]:
        return [(e["ts"] - ZERO, e["args"]["value"]) for e in named(parsed)["cluster", name]]

    assert curve("nodes assigned to a") == [(0, 1), (250_000, 2), (3_000_000, 1)]
    waiting = [(0, 1), (500_000, 2), (1_000_000, 1)]
    assert curve("requests waiting for a first token") == waiting
    assert curve("requests being answered") == [(1_000_000, 1), (2_000_000, 0)]


def test_a_simulated_scale_out_has_a_span_for_every_block_and_stage(tiny_model: TinyModel):
    spec = RunSpec(
        model=str(tiny_model("llama")),
        scale=ScaleSpec(num_sources=2, num_nodes=4, max_slots=2, max_length=128),
        prompts=questions(8),
        max_tokens=6,
        link_gbps=0.02,
        device=DeviceModel(bandwidth=2e7, flops=1e10),
        clock="virtual",
        label="tiny",
    )
    result = run(spec)
    events = json.loads(json.dumps(chrome_trace(result, "tiny"), allow_nan=False))["traceEvents"]
    check(events)
    words = Counter(event["name"].split()[0] for event in events if event["ph"] == "X")
    assert words["block"] == len(result.blocks)
    assert words["replica"] + words["pipeline"] - 1 == len(
        result.pipelines
    )  # one phase is named so


def test_a_run_that_is_not_there_and_a_file_that_cannot_be_written_are_refused(tmp_path: Path):
    result = RunResult.of(RunSpec(), RECORDS, ())
    with pytest.raises(ConfigError, match="no run named"):
        chrome_trace(result, "nobody")
    with pytest.raises(ConfigError, match="cannot write the Chrome trace"):
        save_chrome_trace(result, tmp_path)


def test_a_run_in_which_nothing_happened_is_an_empty_trace():
    events = chrome_trace(RunResult.of(RunSpec(), (), ()))["traceEvents"]
    assert {event["ph"] for event in events} == {"M"}
