"""Nodes that ended and requests that nobody could answer, in words: while it happens, and of a run."""

import sys
from typing import TYPE_CHECKING

from lambdascale.cluster.records import FailedRecord, LossRecord, Record

if TYPE_CHECKING:
    from lambdascale.experiments.results import RunResult


def losses_text(result: "RunResult") -> str:
    """Return a line per node that ended, empty if none did."""
    rows = result.losses.to_dict("records")
    return "\n".join(f"lost at {row['time_s']:.3f} s: {row['why']}" for row in rows)


def losses_json(result: "RunResult") -> list[dict[str, object]]:
    """Return the same as JSON-ready data: `node`, `why`, `time_s`."""
    rows = result.losses.drop(columns="run").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def tell(record: Record) -> None:
    """Say on standard error what goes wrong while an endpoint serves."""
    match record:
        case LossRecord():
            _say(record.why)
        case FailedRecord():
            _say(f"a request for {record.model} failed: no copy is left on any node that lives")


def _say(what: str) -> None:
    print(f"lambdascale serve: {what}", file=sys.stderr, flush=True)
