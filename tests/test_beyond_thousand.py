"""The day on many nodes: what is drawn and counted, against the run's own tables."""

import pandas as pd
import pytest

from lambdascale.experiments.beyond_thousand import case, over_time, summary
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.trace_run import run_trace


@pytest.fixture(scope="module")
def result() -> RunResult:
    return run_trace(*case(num_nodes=40, num_requests=60))


def test_everybody_is_answered_and_counted(result: RunResult) -> None:
    (row,) = summary(result).to_dict("records")
    assert row["num_requests"] == 60
    assert result.requests["finished_s"].notna().all()
    assert row["ttft_p50_s"] <= row["ttft_p90_s"] <= row["ttft_p99_s"]


def test_the_most_gpus_of_any_span_are_the_most_of_the_run(result: RunResult) -> None:
    frame = over_time(result, num_bins=50)
    spans = result.allocations.fillna({"until_s": frame["from_s"].iloc[-1] + 1e9})
    begun = spans["from_s"]
    held = [int(((begun <= at) & (spans["until_s"] > at)).sum()) for at in begun]
    assert frame["gpus"].max() == max(held) == summary(result)["most_gpus"].iloc[0]
    assert frame["gpus"].min() >= 0


def test_the_rate_over_all_spans_is_every_request(result: RunResult) -> None:
    frame = over_time(result, num_bins=50)
    width = pd.Series(frame["from_s"]).diff().iloc[1]
    assert (frame["requests_per_s"] * width).sum() == pytest.approx(60)
