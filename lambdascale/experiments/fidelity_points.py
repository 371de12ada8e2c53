"""What is compared of a run on both clocks, as points: one time of one trial, measured and predicted.

    multicast     the last block is verified at its last receiver
    ramp          receivers cover the model · a receiver samples its first token · every request is answered
    ttft          time to first token of all requests, P50 and P90
    mode switch   the last receiver serves on its own

Pure, from the tables of runs; the formulas are those of METHODOLOGY.md.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import quantile
from lambdascale.experiments.trials import Trial

COLUMNS = (
    *("kind", "metric", "system", "serves", "sources", "nodes", "blocks", "transport"),
    *("measured_s", "predicted_s", "ratio", "overruns", "steps", "in_sample"),
)
Times = dict[tuple[str, str], float]


def times_of(result: RunResult) -> Times:
    """Return the times of one run by (kind, metric)."""
    return dict(_times(result))


def _times(result: RunResult) -> Iterator[tuple[tuple[str, str], float]]:
    blocks, nodes = result.blocks, result.nodes
    (spec,) = result.scale_out_specs
    receivers = nodes[nodes["role"] == "destination"]
    yield ("multicast", "complete"), float(blocks["verified_s"].max())
    if len(receivers) > 1:
        first = blocks.groupby("block")["verified_s"].min()
        yield ("ramp", "coverage"), float(first.max())
    yield ("mode switch", "switched"), float(receivers["switched_s"].max())
    if result.requests.empty:
        return
    received = result.tokens.loc[result.tokens["node"] >= spec.num_sources, "time_s"]
    if not received.empty:
        yield ("ramp", "first token"), float(received.min())
    yield ("ramp", "answered"), float(result.requests["finished_s"].max())
    for share in (0.5, 0.9):
        yield ("ttft", f"P{share * 100:.0f}"), quantile(result.requests["ttft_s"], share)


def points(
    trials: Sequence[Trial], measured: Sequence[RunResult], predicted: Sequence[RunResult]
) -> pd.DataFrame:
    """Return one row per trial and time that both clocks have; `ratio` is predicted ÷ measured."""
    rows = [
        row
        for trial, real, virtual in zip(trials, measured, predicted, strict=True)
        for row in _rows(trial, real, virtual)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(trial: Trial, real: RunResult, virtual: RunResult) -> Iterator[dict[str, object]]:
    predicted = times_of(virtual)
    for (kind, metric), measured_s in times_of(real).items():
        if (kind, metric) in predicted:
            predicted_s = predicted[kind, metric]
            yield {
                **{"kind": kind, "metric": metric, "system": trial.system, "serves": trial.serves},
                **{"sources": trial.num_sources, "nodes": trial.num_nodes},
                **{"blocks": trial.num_blocks, "transport": trial.transport},
                **{"measured_s": measured_s, "predicted_s": predicted_s},
                "ratio": predicted_s / measured_s,
                **{"overruns": int(real.nodes["overruns"].sum())},
                **{"steps": int(real.nodes["steps"].sum()), "in_sample": trial.in_sample},
            }
