"""What is compared of a run on both clocks, as points: one time of one trial, measured and predicted.

    multicast     the last block is verified at its last receiver · receivers cover the model (not serving)
    ramp          they cover it (serving) · one of them samples its first token · every request is answered
    mode switch   the last receiver serves on its own · whoever was moved goes on
    TTFT          time to first token of all requests, P50 and P90

Pure, from the tables of runs; the formulas are those of METHODOLOGY.md.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import quantile
from lambdascale.experiments.trials import Trial

COLUMNS = (
    *("kind", "metric", "system", "serves", "sources", "nodes", "blocks", "transport"),
    *("measured_s", "predicted_s", "ratio", "overruns", "steps", "in_sample", "provenance"),
)
Times = dict[tuple[str, str], float]


def times_of(result: RunResult) -> Times:
    """Return the times of one run by (kind, metric)."""
    return dict(_times(result))


def _times(result: RunResult) -> Iterator[tuple[tuple[str, str], float]]:
    blocks, serves = result.blocks, not result.requests.empty
    yield ("multicast", "complete"), float(blocks["verified_s"].max())
    covered_s = float(blocks.groupby("block")["verified_s"].min().max())
    yield ("ramp" if serves else "multicast", "coverage"), covered_s
    if serves:
        yield from _ramp(result)
        yield from _switch(result)
        for share in (0.5, 0.9):
            yield ("TTFT", f"P{share * 100:.0f}"), quantile(result.requests["ttft_s"], share)


def _ramp(result: RunResult) -> Iterator[tuple[tuple[str, str], float]]:
    (spec,) = result.scale_out_specs
    received = result.tokens.loc[result.tokens["node"] >= spec.num_sources, "time_s"]
    yield ("ramp", "first token"), float(received.min())
    yield ("ramp", "answered"), float(result.requests["finished_s"].max())


def _switch(result: RunResult) -> Iterator[tuple[tuple[str, str], float]]:
    receivers = result.nodes[result.nodes["role"] == "destination"]
    yield ("mode switch", "switched"), float(receivers["switched_s"].max())
    phases = result.scale_outs[result.scale_outs["phase"] == "full speed"]
    yield ("mode switch", "full speed"), float((phases["start_s"] + phases["seconds"]).max())


def points(
    trials: Sequence[Trial], measured: Sequence[RunResult], predicted: Sequence[RunResult]
) -> pd.DataFrame:
    """Return one row per trial and time that happened on both clocks; `ratio` is predicted ÷ measured."""
    rows = [
        row
        for trial, real, virtual in zip(trials, measured, predicted, strict=True)
        for row in _rows(trial, real, virtual)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(subset="ratio", ignore_index=True)


def _rows(trial: Trial, real: RunResult, virtual: RunResult) -> Iterator[dict[str, object]]:
    predicted = times_of(virtual)
    overruns, steps = int(real.nodes["overruns"].sum()), int(real.nodes["steps"].sum())
    for (kind, metric), measured_s in times_of(real).items():
        predicted_s = predicted[kind, metric]
        yield {
            **{"kind": kind, "metric": metric, "system": trial.system, "serves": trial.serves},
            **{"sources": trial.num_sources, "nodes": trial.num_nodes},
            **{"blocks": trial.num_blocks, "transport": trial.transport},
            **{"measured_s": measured_s, "predicted_s": predicted_s},
            **{"ratio": predicted_s / measured_s, "overruns": overruns, "steps": steps},
            "in_sample": trial.in_sample,
            "provenance": f"{real.provenance}, {virtual.provenance}",
        }


def overview(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return how many trials there are of each kind, in sample and out."""
    rows = [
        {
            "kind": "serving" if trial.serves else "multicast",
            "sample": "in" if trial.in_sample else "out",
            "nodes": trial.num_nodes,
            "blocks": trial.num_blocks,
            "sources": trial.num_sources,
        }
        for trial in trials
    ]
    groups = pd.DataFrame(rows).groupby(["kind", "sample"])
    return groups.agg(_span).assign(trials=groups.size()).reset_index()


def _span(column: "pd.Series[int]") -> str:
    return f"{column.min()} to {column.max()}"
