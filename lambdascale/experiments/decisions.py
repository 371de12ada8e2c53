"""The scale-outs of a run as a table: when, how many nodes, how they started, how long it took."""

import pandas as pd

from lambdascale.cluster.records import STARTS
from lambdascale.experiments.results import RunResult

SHOWN = 12  # scale-outs in the text; the rest is counted


def decisions(result: RunResult) -> pd.DataFrame:
    """Return one row per scale-out of the first run.

    Columns: scale_out, model, decided_s, nodes, the counts hot, warm, cold, ssd, and the seconds from the
    decision to *covered*, *first token* and *full speed* (NaN: not reached).
    """
    run = result.specs[0].label
    phases = result.scale_outs[result.scale_outs["run"] == run]
    starts = result.starts[result.starts["run"] == run]
    rows = [_row(group, starts) for _, group in phases.groupby("scale_out")]
    columns = ["scale_out", "model", "decided_s", "nodes", *STARTS, *_AFTER]
    return pd.DataFrame(rows, columns=columns)


_AFTER = {"covered_s": "covered", "first_token_s": "first token", "full_speed_s": "full speed"}


def _row(phases: pd.DataFrame, starts: pd.DataFrame) -> dict[str, object]:
    number, model = phases["scale_out"].iloc[0], phases["model"].iloc[0]
    ends = dict(zip(phases["phase"], phases["start_s"] + phases["seconds"], strict=True))
    mine = starts[starts["scale_out"] == number]["start"]
    decided_s = ends.get("decided", float(phases["start_s"].min()))
    return {
        "scale_out": int(number),
        "model": model,
        "decided_s": decided_s,
        "nodes": len(mine),
        **{start: int((mine == start).sum()) for start in STARTS},
        **{
            column: ends[phase] - decided_s if phase in ends else float("nan")
            for column, phase in _AFTER.items()
        },
    }


def decisions_text(table: pd.DataFrame) -> str:
    """Return the first scale-outs as text."""
    head = f"{'scale-out':<10}{'at [s]':>9}{'nodes':>7}  {'starts':<24}"
    head += "".join(f"{name:>9}" for name in ("covered", "token", "full"))
    lines = [head]
    for row in table.head(SHOWN).to_dict("records"):
        starts = ", ".join(f"{row[start]} {start}" for start in STARTS if row[start])
        after = "".join(_seconds(row[column]) for column in _AFTER)
        name = f"{row['scale_out']}"
        lines.append(f"{name:<10}{row['decided_s']:>9.2f}{row['nodes']:>7}  {starts:<24}{after}")
    if len(table) > SHOWN:
        lines.append(f"… and {len(table) - SHOWN} more")
    return "\n".join([*lines, "covered, token, full speed: seconds after the decision"])


def _seconds(value: float) -> str:
    return f"{'–':>9}" if value != value else f"{value:>9.2f}"
