"""A run of several models in few numbers: latency, throughput, GPU-seconds and how nodes started.

Pure, from the tables of a run; the formulas are in METHODOLOGY.md. One row per model and one for all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lambdascale.cluster.records import STARTS
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.trace_spec import TraceSpec

ALL = "all"  # the row of all models together
SHARES = (0.5, 0.9, 0.99)

_OF_MODELS = ("requests", "refusals", "allocations", "starts")  # tables that a row is made of
_HEAD = (
    *(
        "model",
        "answered",
        "refused",
        "p50 [s]",
        "p90 [s]",
        "p99 [s]",
        "s/token",
        "tokens/s",
        "GPU-s",
    ),
    *STARTS,
)
_MEANING = "p50, p90, p99: time to first token of all requests; hot … ssd: how nodes started"


def summarise(result: RunResult) -> pd.DataFrame:
    """Return one row per run and model, then one of all its models.

    Columns: run, model, requests, answered, refused, ttft_p50_s, ttft_p90_s, ttft_p99_s (inf: that share
    was never reached), token_s, tokens_per_s, gpu_s, and the shares hot, warm, cold, ssd.
    """
    return pd.DataFrame([row for spec in result.specs for row in _rows(result.only(spec.label))])


def end_s(result: RunResult) -> float:
    """Return when a result of one run ends: phase *finished*, or else the last time that is known."""
    finished = result.phases[result.phases["phase"] == "finished"]
    if not finished.empty:
        return float(finished["start_s"].iloc[0] + finished["seconds"].iloc[0])
    times = [result.requests["finished_s"], result.requests["arrival_s"]]
    times += [result.allocations["from_s"], result.allocations["until_s"]]
    return float(pd.concat(times).max())


def gpu_seconds(allocations: pd.DataFrame, until_s: float, gpus_per_node: int = 1) -> float:
    """Return GPUs × seconds; what has not ended counts up to `until_s`."""
    seconds = float((allocations["until_s"].fillna(until_s) - allocations["from_s"]).sum())
    return gpus_per_node * seconds


def gpus_per_node(result: RunResult) -> int:
    """Return how many GPUs a node of a result of one run has."""
    (spec,) = result.specs
    return spec.gpus_per_node if isinstance(spec, TraceSpec) else 1


def quantile(ttft: pd.Series, share: float) -> float:
    """Return the least time by which at least `share` of all had a first token; inf if never, NaN of none.

    >>> quantile(pd.Series([3.0, 1.0, np.nan, 2.0]), 0.5)
    2.0
    """
    times = np.sort(ttft.fillna(np.inf).to_numpy(float))
    return float(times[int(np.ceil(share * len(times))) - 1]) if len(times) else np.nan


def summary_text(table: pd.DataFrame) -> str:
    """Return the rows of `summarise` as aligned text, one line each, and what the columns mean."""
    rows = [_HEAD, *(_cells(table.loc[i]) for i in table.index)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if table["run"].nunique() > 1:
        names = ["run", *table["run"]]
        rows = [(*row, name) for row, name in zip(rows, names, strict=True)]
    return "\n".join([*(_line(row, widths) for row in rows), _MEANING])


def _rows(result: RunResult) -> Iterator[dict[str, object]]:
    """Yield a row per model in the order of their first appearance, then one of all."""
    run, until_s = result.specs[0].label, end_s(result)
    named = [result.requests["model"], result.allocations["model"], result.starts["model"]]
    for model in pd.concat(named).unique():
        yield {"run": run, "model": model, **_row(_of_model(result, model), until_s)}
    yield {"run": run, "model": ALL, **_row(result, until_s)}


def _of_model(result: RunResult, model: str) -> RunResult:
    frames = {name: getattr(result, name) for name in _OF_MODELS}
    return replace(result, **{name: f[f["model"] == model] for name, f in frames.items()})


def _row(result: RunResult, until_s: float) -> dict[str, object]:
    requests, starts = result.requests, result.starts["start"]
    ttft = requests["ttft_s"]
    return {
        "requests": len(requests),
        "answered": int(ttft.notna().sum()),
        "refused": result.refusals["request"].nunique(),
        **{f"ttft_p{100 * share:.0f}_s": quantile(ttft, share) for share in SHARES},
        "token_s": _token_s(requests),
        "tokens_per_s": _tokens_per_s(requests),
        "gpu_s": gpu_seconds(result.allocations, until_s, gpus_per_node(result)),
        **{start: float((starts == start).mean()) for start in STARTS},
    }


def _token_s(requests: pd.DataFrame) -> float:
    """The mean time per token after the first."""
    longer = requests[requests["output_tokens"] > 1]
    decoding = longer["finished_s"] - longer["arrival_s"] - longer["ttft_s"]
    return float((decoding / (longer["output_tokens"] - 1)).mean())


def _tokens_per_s(requests: pd.DataFrame) -> float:
    seconds = requests["finished_s"].max() - requests["arrival_s"].min()
    return float(requests["output_tokens"].sum() / seconds) if seconds > 0 else np.nan


def _cells(row: pd.Series) -> tuple[str, ...]:
    times = [f"{row[name]:.3f}" for name in ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "token_s")]
    rates = [f"{row['tokens_per_s']:.1f}", f"{row['gpu_s']:.1f}"]
    starts = [f"{row[start]:.0%}" for start in STARTS]
    words = {"inf": "never", "nan": "–", "nan%": "–"}
    numbers = [words.get(cell, cell) for cell in (*times, *rates, *starts)]
    counts = f"{row['answered']}/{row['requests']}", str(row["refused"])
    return str(row["model"]) or "(no name)", *counts, *numbers


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """The first cell and those beyond the widths to the left, the others to the right."""
    first, *cells = row
    aligned = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=False)]
    return "  ".join([f"{first:<{widths[0]}}", *aligned, *cells[len(widths) - 1 :]])
