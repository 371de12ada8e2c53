"""A metric: a number with a name, as a notebook reports it, and the file that a notebook's metrics are in.

Names go from the general to the special, `fig07.13b.8.faasnet_over_ours`, and are unique over all notebooks.
Several values under one name are the same quantity at several points or for several seeds.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError

METRICS = "metrics.json"
PROVENANCES = ("measured", "emulated", "simulated")
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
DIGITS = 9  # that are kept: the last bits of a float differ between machines

Outputs = Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Metric:
    """`values` are never NaN; inf is what was never reached. `note` says it in words."""

    name: str
    values: tuple[float, ...]
    provenance: str
    note: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"metric name {self.name!r}: use lower-case words with dots between, figure first"
            )
        if not self.values or any(map(math.isnan, self.values)):
            raise ConfigError(f"metric {self.name} has values {self.values}; give numbers")
        if unknown := set(self.provenance.split(", ")) - set(PROVENANCES):
            raise ConfigError(
                f"metric {self.name} has provenance {', '.join(unknown)!r}; "
                f"use {', '.join(PROVENANCES)}"
            )


def metric(name: str, value: float | Iterable[float], provenance: str, note: str = "") -> Metric:
    """Return a metric of one value or several, rounded to DIGITS.

    >>> metric("fig07.7b.ratio", [1 / 3, 2], "simulated").values
    (0.333333333, 2.0)
    """
    values = value if isinstance(value, Iterable) else [value]
    return Metric(name, tuple(float(f"{v:.{DIGITS}g}") for v in values), provenance, note)


def word(text: str) -> str:
    """Return a text as one part of a name.

    >>> word("LRU and 15 s")
    'lru_and_15_s'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def same_tokens(name: str, ours: Outputs, reference: Outputs, provenance: str) -> Metric:
    """Return the share of requests whose output token ids are the same in both; 0 of none."""
    same = sum(tuple(ours.get(r, ())) == tuple(ids) for r, ids in reference.items())
    num_requests = max(len(reference), len(ours))
    note = f"{same} of {num_requests} requests identical"
    return metric(name, same / max(1, num_requests), provenance, note)


def save(metrics: Iterable[Metric], folder: Path) -> None:
    """Write metrics into `folder`, by name."""
    rows = [
        {
            "name": m.name,
            "values": [v if math.isfinite(v) else str(v) for v in m.values],
            "provenance": m.provenance,
            "note": m.note,
        }
        for m in sorted(metrics, key=lambda m: m.name)
    ]
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[Metric, ...]:
    """Read what `save` wrote; nothing if the folder has no metrics."""
    path = folder / METRICS
    if not path.is_file():
        return ()
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Metric(**row | {"values": tuple(map(float, row["values"]))}) for row in rows)
