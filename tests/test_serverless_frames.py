"""Tables of several models: intervals, tiles of a scale-out's time, and a round trip over the disk."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lambdascale.cluster.records import (
    SCALE_PHASES,
    AllocationRecord,
    BlockRecord,
    FailedRecord,
    LossRecord,
    PipelineRecord,
    Record,
    RefusedRecord,
    ResidencyRecord,
    ReturnRecord,
    ScaleRecord,
    StartRecord,
    SwitchRecord,
    TokenRecord,
)
from lambdascale.errors import ConfigError
from lambdascale.experiments.frames import COLUMNS, tables, types
from lambdascale.experiments.results import RunResult, load
from lambdascale.experiments.spec import RunSpec
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request

RECORDS: tuple[Record, ...] = (
    AllocationRecord("a", 0, 0.0, allocated=True),
    ResidencyRecord("a", 0, "host", 0.0, resident=True),
    AllocationRecord("a", 1, 1.0, allocated=True),
    StartRecord(7, "a", 1, "warm", 1.0),
    BlockRecord(1, 0, 1, 1.1, 1.2, "a", "host"),
    PipelineRecord(3, "replica", (Stage(1, 0, 6),), 1.5, formed=True, model="a"),
    TokenRecord(0, 0, 5, 1.6, 1, 3, "replica", last=True),
    SwitchRecord(0, 1, "recompute", 12, 0.25, 0.5, 1.5),
    RefusedRecord(1, "nan", 1.75, 2.0),
    AllocationRecord("a", 1, 3.0, allocated=False),
    AllocationRecord("b", 1, 3.5, allocated=True),
    ResidencyRecord("a", 0, "host", 4.0, resident=False),
    AllocationRecord("a", 1, 5.0, allocated=True),
    LossRecord(1, "node 1 is gone: connection closed", 6.0),
    ReturnRecord(1, 16, 6.25),
    FailedRecord(1, "nan", 6.5),
)


def ends(scale_out: int, **phases: float) -> list[Record]:
    names = {name.replace("_", " "): time_s for name, time_s in phases.items()}
    return [ScaleRecord(scale_out, "a", name, time_s) for name, time_s in names.items()]


def frames(*records: Record) -> dict[str, pd.DataFrame]:
    return tables("one", records, (), num_sources=1)


def rows(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """The rows without the run, None for what is missing."""
    values = frame.drop(columns="run").astype(object).where(frame.notna(), None)
    return list(values.itertuples(index=False, name=None))


def test_a_node_that_is_assigned_again_has_one_interval_each_time_and_an_open_one_at_the_end():
    assert rows(frames(*RECORDS)["allocations"]) == [
        ("a", 0, 0.0, None),
        ("a", 1, 1.0, 3.0),
        ("b", 1, 3.5, None),
        ("a", 1, 5.0, None),
    ]


def test_a_residency_lasts_from_its_first_beginning_to_its_end_whatever_is_said_twice():
    twice = [record for record in RECORDS for _ in range(2)]
    for records in (RECORDS, twice):
        assert rows(frames(*records)["residency"]) == [("a", 0, "host", 0.0, 4.0)]


def test_blocks_and_pipelines_name_their_model_and_origin():
    found = frames(*RECORDS)
    assert rows(found["blocks"]) == [(1, 0, 1, 1.1, 1.2, "a", "host")]
    assert list(found["pipelines"]["model"]) == ["a"]


def test_the_phases_of_a_scale_out_fill_its_time_without_gap_or_overlap():
    late_loading = ends(
        2, begun=0.5, queued=0.75, decided=0.8, first_token=1.25, loading=1.5, full_speed=2.0
    )
    whole = [ScaleRecord(1, "b", phase, i / 8) for i, phase in enumerate(SCALE_PHASES)]
    table = frames(*late_loading, *reversed(whole))["scale_outs"]
    assert list(dict.fromkeys(table["scale_out"])) == [1, 2]
    for scale_out, begin_s, end_s in ((1, 0.0, (len(SCALE_PHASES) - 1) / 8), (2, 0.5, 2.0)):
        mine = table[table["scale_out"] == scale_out]
        stops = mine["start_s"] + mine["seconds"]
        assert list(mine["start_s"]) == [begin_s, *stops[:-1]]
        assert stops.iloc[-1] == end_s
        assert (mine["seconds"] >= 0).all()
    assert list(table.loc[table["scale_out"] == 1, "phase"]) == list(SCALE_PHASES[1:])
    expected = ["queued", "decided", "first token", "loading", "full speed"]
    assert list(table.loc[table["scale_out"] == 2, "phase"]) == expected


def test_phases_that_end_together_keep_their_order():
    table = frames(*ends(0, covered=1.0, loading=1.0, begun=0.0, first_token=1.0))["scale_outs"]
    assert list(table["phase"]) == ["loading", "covered", "first token"]
    assert list(table["seconds"]) == [1.0, 0.0, 0.0]


def test_every_table_survives_the_disk(tmp_path: Path):
    records = [*RECORDS, *ends(0, begun=0.1, queued=0.2, decided=0.1 + 0.2)]
    requests = [Request(0, (1, 2), 1, model="a"), Request(1, (1,), 1, model="nan")]
    result = RunResult.of(RunSpec(), records, requests, note="all 2 requests, no prompt cut")
    result.save(tmp_path)
    found = load(tmp_path)
    assert found.notes == result.notes == ("all 2 requests, no prompt cut",)
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(found, name), getattr(result, name), check_exact=True)
        assert list(getattr(found, name).columns) == list(types(name))
        assert name == "phases" or name == "nodes" or len(getattr(found, name)), name
    assert list(found.refusals["model"]) == ["nan"]


def test_results_of_several_runs_keep_their_rows_apart(tmp_path: Path):
    one = RunResult.of(RunSpec(label="one"), RECORDS, ())
    two = RunResult.of(RunSpec(label="two"), RECORDS[:2], ())
    both = RunResult.joined([one, two])
    assert list(both.allocations["run"]) == ["one"] * 4 + ["two"]
    assert len(both.only("two").allocations) == 1
    assert [len(both.notes), both.only("two").notes] == [2, ("",)]


def test_a_folder_that_other_code_wrote_is_refused(tmp_path: Path):
    RunResult.of(RunSpec(), RECORDS, ()).save(tmp_path)
    (tmp_path / "starts.csv").unlink()
    with pytest.raises(ConfigError, match=r"starts.csv is missing: other code wrote this folder"):
        load(tmp_path)


def test_records_of_an_unknown_kind_are_refused():
    with pytest.raises(
        ConfigError, match="phase 'waiting' of a record is unknown; use one of begun"
    ):
        ScaleRecord(0, "a", "waiting", 0.0)
    with pytest.raises(ConfigError, match="start 'lukewarm'"):
        StartRecord(0, "a", 0, "lukewarm", 0.0)
    with pytest.raises(
        ConfigError, match="tier 'disk' of a record is unknown; use one of gpu, host"
    ):
        ResidencyRecord("a", 0, "disk", 0.0, resident=True)
    with pytest.raises(ConfigError, match="method 'magic'"):
        SwitchRecord(0, 0, "magic", 1, 0.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match="origin 'disk'"):
        replace(BlockRecord(0, 0, 0, 0.0, 0.0), origin="disk")
