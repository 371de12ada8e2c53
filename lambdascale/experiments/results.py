"""The result of a run: tidy tables, and a folder that holds them, its manifest written last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pandas as pd

from lambdascale.cluster.records import CorruptRecord, Record, TokenRecord
from lambdascale.errors import ConfigError
from lambdascale.experiments.frames import COLUMNS, tables
from lambdascale.experiments.machine import machine, versions
from lambdascale.experiments.spec import RunSpec
from lambdascale.workload.request import Request

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class RunResult:
    """The tables of one or several runs, one row label (`run`) each; see METHODOLOGY.md for columns."""

    specs: tuple[RunSpec, ...]
    blocks: pd.DataFrame
    tokens: pd.DataFrame
    requests: pd.DataFrame
    nodes: pd.DataFrame
    pipelines: pd.DataFrame
    phases: pd.DataFrame
    num_corrupt: int = 0

    @classmethod
    def of(
        cls, spec: RunSpec, records: Sequence[Record], requests: Sequence[Request]
    ) -> "RunResult":
        """Make the tables of one run."""
        frames = tables(spec.label, records, requests, spec.scale.num_sources)
        corrupt = sum(isinstance(r, CorruptRecord) for r in records)
        return cls((spec,), **frames, num_corrupt=corrupt)

    @classmethod
    def joined(cls, results: Sequence["RunResult"]) -> "RunResult":
        """Put several results into one; their labels must differ."""
        specs = tuple(spec for result in results for spec in result.specs)
        if len({spec.label for spec in specs}) < len(specs):
            raise ConfigError("runs that are joined need different labels")
        frames = {
            name: pd.concat(
                [table for r in results if not (table := getattr(r, name)).empty]
                or [getattr(results[0], name)],
                ignore_index=True,
            )
            for name in COLUMNS
        }
        return cls(specs, **frames, num_corrupt=sum(r.num_corrupt for r in results))

    @property
    def provenance(self) -> str:
        """measured, emulated or simulated (several, if runs of different kinds were joined)."""
        return ", ".join(dict.fromkeys(spec.provenance for spec in self.specs))

    def outputs(self, run: str | None = None) -> dict[int, tuple[int, ...]]:
        """Return each request's output token ids (of run `run`; default: the first)."""
        mine = self.tokens[self.tokens["run"] == (run or self.specs[0].label)]
        outputs: dict[int, list[int]] = {}
        for row in mine.sort_values(["request", "position"]).to_dict("records"):
            outputs.setdefault(row["request"], []).append(row["token"])
        return {request: tuple(tokens) for request, tokens in outputs.items()}

    def phase_s(self, phase: str, run: str | None = None) -> float:
        """Return when `phase` was reached, in seconds since the scale-out started."""
        mine = self.phases[self.phases["run"] == (run or self.specs[0].label)]
        row = mine[mine["phase"] == phase]
        if row.empty:
            reached = ", ".join(mine["phase"])
            raise ConfigError(f"phase {phase!r} was not reached; these were: {reached}")
        return float(row["start_s"].iloc[0] + row["seconds"].iloc[0])

    def save(self, folder: Path) -> None:
        """Write one CSV a table, then the manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            getattr(self, name).to_csv(folder / f"{name}.csv", index=False)
        manifest = {
            "specs": [json.loads(msgspec.json.encode(spec)) for spec in self.specs],
            "provenance": self.provenance,
            "num_corrupt": self.num_corrupt,
            "machine": machine(),
            "versions": versions(),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        partial = folder / f".{MANIFEST}"
        partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / MANIFEST)


def new_tokens(records: Sequence[Record]) -> list[TokenRecord]:
    """Return the token records, in the order in which they were produced."""
    return [r for r in records if isinstance(r, TokenRecord)]


def load(folder: Path) -> RunResult:
    """Read what `save` wrote; ConfigError if the folder is not complete."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ConfigError(f"{folder} has no {MANIFEST}; that run did not finish")
    stated = json.loads(manifest.read_text(encoding="utf-8"))
    frames = {name: pd.read_csv(folder / f"{name}.csv") for name in COLUMNS}
    specs = msgspec.convert(stated["specs"], tuple[RunSpec, ...])
    return RunResult(specs, **frames, num_corrupt=stated["num_corrupt"])
