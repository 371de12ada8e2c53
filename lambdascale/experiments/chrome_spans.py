"""From the tables of a run to the spans of its Chrome trace: what is drawn, and how it is called."""

import math
from collections.abc import Hashable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd

from lambdascale.experiments.chrome_events import Span

Row = Mapping[Hashable, Any]


def phase_spans(phases: pd.DataFrame) -> list[Span]:
    """Return one span a phase, each up to where the next one begins."""
    rows = _rows(phases)
    ends = [row["start_s"] for row in rows[1:]] + [r["start_s"] + r["seconds"] for r in rows[-1:]]
    return [
        Span(row["phase"], row["start_s"], stop_s) for row, stop_s in zip(rows, ends, strict=True)
    ]


def block_spans(blocks: pd.DataFrame) -> Iterator[Span]:
    """Yield one span per arrival of a node, in order."""
    arrived = [0.0, *blocks["arrived_s"]]
    longest = blocks["arrived_s"].diff().median() if len(blocks) > 1 else 0.0
    for row, (before_s, stop_s) in zip(_rows(blocks), pairwise(arrived), strict=True):
        start_s = min(stop_s, max(before_s, stop_s - longest))
        yield Span(f"block {row['block']}", start_s, stop_s, _details(row, "src model verified_s"))


def stage_spans(stages: pd.DataFrame, until_s: float) -> list[Span]:
    """Return what a node served as."""
    return [_stage(row, until_s) for row in _rows(stages)]


def _stage(row: Row, until_s: float) -> Span:
    parts = f"parts {row['first']}–{row['stop'] - 1}"
    name = "replica" if row["kind"] == "replica" else f"pipeline {row['pipeline']}, {parts}"
    name = f"{name} of {row['model']}" if row["model"] else name
    return _span(name, row["formed_s"], row["dissolved_s"], until_s)


def lasting_spans(frame: pd.DataFrame, until_s: float) -> list[Span]:
    """Return one span per interval, named by its model."""
    return [
        _span(row["model"] or "the model", row["from_s"], row["until_s"], until_s)
        for row in _rows(frame)
    ]


def _span(name: str, start_s: float, stop_s: float, until_s: float) -> Span:
    return Span(name, start_s, max(start_s, until_s if math.isnan(stop_s) else stop_s))


def switch_moments(switches: pd.DataFrame) -> list[Span]:
    """Return one moment per request that moved."""
    return [
        _moment(f"request {row['request']}: {row['method']}", row, "tokens recompute_s transfer_s")
        for row in _rows(switches)
    ]


def start_moments(starts: pd.DataFrame) -> list[Span]:
    """Return one moment per node that a scale-out started."""
    return [
        _moment(f"node {row['node']}: {row['start']}", row, "scale_out") for row in _rows(starts)
    ]


def _moment(name: str, row: Row, details: str) -> Span:
    return Span(name, row["time_s"], row["time_s"], _details(row, details))


def _rows(frame: pd.DataFrame) -> list[Row]:
    return [*frame.to_dict("records")]


def _details(row: Row, names: str) -> dict[str, object]:
    """Numbers that JSON does not have become texts."""
    values = {name: row[name] for name in names.split()}
    return {
        k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()
    }
