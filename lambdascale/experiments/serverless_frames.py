"""The rows of the tables that several models and scale-outs leave behind (METHODOLOGY.md).

Beginnings and ends become intervals; what has not ended has no end (NaN).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

from lambdascale.cluster.records import (
    SCALE_PHASES,
    AllocationRecord,
    FailedRecord,
    LossRecord,
    Record,
    RefusedRecord,
    RepairRecord,
    ResidencyRecord,
    ReturnRecord,
    ScaleRecord,
    StartRecord,
    SwitchRecord,
)

Row = dict[str, object]


def serverless_rows(records: Sequence[Record]) -> Mapping[str, list[Row]]:
    """Return the rows of each table, in the order in which they began."""
    return {
        "allocations": _allocations([r for r in records if isinstance(r, AllocationRecord)]),
        "scale_outs": _scale_outs([r for r in records if isinstance(r, ScaleRecord)]),
        "starts": plain_rows([r for r in records if isinstance(r, StartRecord)]),
        "residency": _residency([r for r in records if isinstance(r, ResidencyRecord)]),
        "switches": plain_rows([r for r in records if isinstance(r, SwitchRecord)]),
        "refusals": plain_rows([r for r in records if isinstance(r, RefusedRecord)]),
        "failures": plain_rows([r for r in records if isinstance(r, FailedRecord)]),
        "losses": _losses(records),
        "returns": plain_rows([r for r in records if isinstance(r, ReturnRecord)]),
    }


def plain_rows(records: Sequence[Any]) -> list[Row]:
    """Return records of one kind as they are, a row each."""
    if not records:
        return []
    names = [field.name for field in fields(records[0])]
    values = attrgetter(*names)
    return [dict(zip(names, values(record), strict=True)) for record in records]


def _allocations(records: Sequence[AllocationRecord]) -> list[Row]:
    changes = [({"model": r.model, "node": r.node}, r.time_s, r.allocated) for r in records]
    return _intervals(changes)


def _residency(records: Sequence[ResidencyRecord]) -> list[Row]:
    return _intervals(
        [
            ({"model": r.model, "node": r.node, "tier": r.tier}, r.time_s, r.resident)
            for r in records
        ]
    )


def _intervals(changes: Sequence[tuple[Row, float, bool]]) -> list[Row]:
    """Pair each beginning with the next end of the same; beginning twice or ending nothing is ignored."""
    rows: list[Row] = []
    lasting: dict[tuple[object, ...], Row] = {}
    for what, time_s, begins in changes:
        key = tuple(what.values())
        if begins and key not in lasting:
            lasting[key] = {**what, "from_s": time_s, "until_s": None}
            rows.append(lasting[key])
        elif not begins and key in lasting:
            lasting.pop(key)["until_s"] = time_s
    return rows


def _losses(records: Sequence[Record]) -> list[Row]:
    """Each node that has ended, and what was planned when the others were quiet, in any scale-out."""
    repairs = [r for r in records if isinstance(r, RepairRecord)]
    rows: list[Row] = []
    for loss in (r for r in records if isinstance(r, LossRecord)):
        later = [r for r in repairs if r.time_s >= loss.time_s]
        planned_s = min((r.time_s for r in later), default=None)
        num_sends = sum(r.num_sends for r in later if r.time_s == planned_s)
        row: Row = {"node": loss.node, "why": loss.why, "time_s": loss.time_s}
        rows.append(row | {"planned_s": planned_s, "num_sends": num_sends})
    return rows


def _scale_outs(records: Sequence[ScaleRecord]) -> list[Row]:
    """Each phase lasts from the end of the one before it, so that together they fill the time."""
    ordered = sorted(records, key=lambda r: (r.scale_out, r.time_s, SCALE_PHASES.index(r.phase)))
    return [
        {
            **{"scale_out": b.scale_out, "model": b.model, "phase": b.phase},
            **{"start_s": a.time_s, "seconds": b.time_s - a.time_s},
        }
        for _, group in groupby(ordered, key=lambda r: r.scale_out)
        for a, b in pairwise(group)
    ]
