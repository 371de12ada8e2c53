"""Nodes that ended or came back, and requests that failed, in words: while it happens, and of a run."""

import sys
from typing import TYPE_CHECKING

import pandas as pd

from lambdascale.cluster.records import FailedRecord, LossRecord, Record, ReturnRecord

if TYPE_CHECKING:
    from lambdascale.experiments.results import RunResult


def losses_text(result: "RunResult") -> str:
    """Return a line per node that ended or came back, empty if none did."""
    events = [(row["time_s"], f"lost: {row['why']}") for row in result.losses.to_dict("records")]
    events += [
        (row["time_s"], _back(row["node"], row["blocks"]))
        for row in result.returns.to_dict("records")
    ]
    return "\n".join(f"{time_s:9.3f} s  {what}" for time_s, what in sorted(events))


def losses_json(result: "RunResult") -> list[dict[str, object]]:
    """Return the same as JSON-ready data: `node`, `time_s`, and `why` or the `blocks` it came back with."""
    rows = [*result.losses.to_dict("records"), *result.returns.to_dict("records")]
    rows.sort(key=lambda row: row["time_s"])
    return [
        {
            str(name): None if pd.isna(value) else value
            for name, value in row.items()
            if name != "run"
        }
        for row in rows
    ]


def tell(record: Record) -> None:
    """Say on standard error what goes wrong while an endpoint serves."""
    match record:
        case LossRecord():
            _say(record.why)
        case ReturnRecord():
            _say(_back(record.node, record.blocks))
        case FailedRecord():
            _say(f"a request for {record.model} failed: no copy is left on any node that lives")


def _back(node: int, num_blocks: int) -> str:
    return f"node {node} is back, with {num_blocks} blocks"


def _say(what: str) -> None:
    print(f"lambdascale serve: {what}", file=sys.stderr, flush=True)
