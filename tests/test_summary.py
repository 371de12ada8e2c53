"""The summary of a run is what its formulas say, per model and in all."""

import math

import numpy as np
import pytest

from lambdascale.cluster.records import (
    AllocationRecord,
    PhaseRecord,
    PipelineRecord,
    Record,
    RefusedRecord,
    StartRecord,
    TokenRecord,
)
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.summary import ALL, end_s, gpu_seconds, summarise, summary_text
from lambdascale.pipeline.stages import Stage
from lambdascale.workload.request import Request


def tokens(request: int, *times: float) -> list[Record]:
    last = len(times) - 1
    return [
        TokenRecord(request, i, 5, time_s, 0, 0, "replica", last=i == last)
        for i, time_s in enumerate(times)
    ]


RECORDS: list[Record] = [
    PhaseRecord("started", 0.0),
    PipelineRecord(0, "replica", (Stage(0, 0, 6),), 0.0, formed=True, model="a"),
    AllocationRecord("a", 0, 0.0, allocated=True),
    AllocationRecord("b", 1, 2.0, allocated=True),
    StartRecord(0, "a", 0, "hot", 0.0),
    StartRecord(1, "b", 1, "warm", 2.0),
    StartRecord(2, "b", 2, "ssd", 2.0),
    StartRecord(2, "b", 3, "cold", 2.0),
    *tokens(0, 1.0, 1.5, 2.0),
    *tokens(1, 3.0),
    *tokens(2, 4.0, 5.0),
    RefusedRecord(3, "b", 2.5, 1.0),
    RefusedRecord(3, "b", 3.5, 1.0),
    AllocationRecord("b", 1, 6.0, allocated=False),
    PhaseRecord("finished", 8.0),
]
REQUESTS = [
    Request(0, (1,), 3, arrival_s=0.0, model="a"),
    Request(1, (1,), 1, arrival_s=1.0, model="a"),
    Request(2, (1,), 2, arrival_s=1.0, model="b"),
    Request(3, (1,), 2, arrival_s=2.0, model="b"),
]


def result(label: str = "one") -> RunResult:
    return RunResult.of(RunSpec(label=label), RECORDS, REQUESTS)


def test_every_model_and_all_of_them_have_a_row():
    table = summarise(result())
    assert list(table["model"]) == ["a", "b", ALL]
    assert list(table["requests"]) == [2, 2, 4]
    assert list(table["answered"]) == [2, 1, 3]
    assert list(table["refused"]) == [0, 1, 1]


def test_a_request_without_a_token_counts_in_the_percentiles():
    table = summarise(result()).set_index("model")
    assert list(table.loc["a", ["ttft_p50_s", "ttft_p90_s"]]) == [1.0, 2.0]
    assert list(table.loc["b", ["ttft_p50_s", "ttft_p90_s"]]) == [3.0, math.inf]
    assert list(table.loc[ALL, ["ttft_p50_s", "ttft_p99_s"]]) == [2.0, math.inf]


def test_time_per_token_and_tokens_per_second_follow_their_formulas():
    table = summarise(result()).set_index("model")
    assert list(table["token_s"]) == [0.5, 1.0, 0.75]
    assert list(table["tokens_per_s"]) == [4 / 3, 2 / 4, 6 / 5]


def test_gpu_seconds_are_nodes_times_time_up_to_the_end_of_the_run():
    run = result()
    assert end_s(run) == 8.0
    assert list(summarise(run)["gpu_s"]) == [8.0, 4.0, 12.0]
    assert gpu_seconds(run.allocations, 10.0) == 14.0


def test_a_run_that_did_not_finish_ends_with_the_last_known_time():
    assert end_s(RunResult.of(RunSpec(), RECORDS[:-1], REQUESTS)) == 6.0
    assert end_s(RunResult.of(RunSpec(), RECORDS[:3], REQUESTS)) == 2.0


def test_shares_of_starts_add_up_to_one_and_are_missing_without_starts():
    table = summarise(result()).set_index("model")
    assert list(table.loc["a", ["hot", "warm", "cold", "ssd"]]) == [1, 0, 0, 0]
    assert list(table.loc[ALL, ["hot", "warm", "cold", "ssd"]]) == [0.25] * 4
    alone = RunResult.of(RunSpec(), RECORDS[:3], REQUESTS)
    assert np.isnan(summarise(alone)["hot"]).all()


def test_the_text_has_a_line_per_model_and_says_never():
    lines = summary_text(summarise(result())).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[0].split()[:3] == ["model", "answered", "refused"]
    assert lines[2].split() == [
        *("b", "1/2", "1", "3.000", "never", "never", "1.000", "0.5", "4.0"),
        *("0%", "33%", "33%", "33%"),
    ]


def test_several_runs_are_told_apart():
    both = RunResult.joined([result("one"), result("two")])
    table = summarise(both)
    assert list(table["run"]) == ["one"] * 3 + ["two"] * 3
    assert list(table["gpu_s"]) == [8.0, 4.0, 12.0] * 2
    lines = summary_text(table).splitlines()
    assert lines[3].endswith("  one")
    assert lines[6].endswith("  two")


def test_a_run_without_requests_and_records_has_a_row_of_nothing():
    (row,) = summarise(RunResult.of(RunSpec(), (), ())).to_dict("records")
    assert (row["model"], row["requests"], row["gpu_s"]) == (ALL, 0, 0.0)
    assert math.isnan(row["ttft_p50_s"])
    assert "–" in summary_text(summarise(RunResult.of(RunSpec(), (), ())))


@pytest.mark.parametrize("end", [0.0, 5.0])
def test_gpu_seconds_of_nothing_are_zero(end: float):
    assert gpu_seconds(RunResult.of(RunSpec(), (), ()).allocations, end) == 0.0
