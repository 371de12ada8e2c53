"""The result of a run: tidy tables, and a folder that holds them, its manifest written last.

A folder with a manifest is complete; one without it is a run that did not finish.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from lambdascale.cluster.records import CorruptRecord, Record
from lambdascale.errors import ConfigError
from lambdascale.experiments.frames import COLUMNS, tables, typed, types
from lambdascale.experiments.manifest import MANIFEST, read_manifest, write_manifest
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.workload.request import Request

Spec = RunSpec | TraceSpec


@dataclass(frozen=True)
class RunResult:
    """The tables of one or several runs, one row label (`run`) each; see METHODOLOGY.md for columns."""

    specs: tuple[Spec, ...]
    blocks: pd.DataFrame
    tokens: pd.DataFrame
    requests: pd.DataFrame
    nodes: pd.DataFrame
    pipelines: pd.DataFrame
    phases: pd.DataFrame
    allocations: pd.DataFrame
    scale_outs: pd.DataFrame
    starts: pd.DataFrame
    residency: pd.DataFrame
    switches: pd.DataFrame
    refusals: pd.DataFrame
    failures: pd.DataFrame
    losses: pd.DataFrame
    returns: pd.DataFrame
    corrupt: tuple[int, ...]  # corrupted blocks that were detected, per run
    notes: tuple[str, ...]  # what a reader has to know of its workload, per run

    @classmethod
    def of(
        cls, spec: Spec, records: Sequence[Record], requests: Sequence[Request], note: str = ""
    ) -> "RunResult":
        """Make the tables of one run; `note` says, for instance, what was cut of a trace."""
        frames = tables(spec.label, records, requests, spec.num_sources)
        corrupt = sum(isinstance(r, CorruptRecord) for r in records)
        return cls((spec,), **frames, corrupt=(corrupt,), notes=(note,))

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
        return cls(
            specs,
            **frames,
            corrupt=tuple(n for r in results for n in r.corrupt),
            notes=tuple(note for r in results for note in r.notes),
        )

    @property
    def scale_out_specs(self) -> tuple[RunSpec, ...]:
        """The specifications of single scale-outs."""
        return tuple(spec for spec in self.specs if isinstance(spec, RunSpec))

    @property
    def num_corrupt(self) -> int:
        """How many corrupted blocks were detected (and fetched again)."""
        return sum(self.corrupt)

    @property
    def provenance(self) -> str:
        """measured, emulated or simulated (several, if runs of different kinds were joined)."""
        return ", ".join(dict.fromkeys(spec.provenance for spec in self.specs))

    def only(self, *runs: str) -> "RunResult":
        """Return the tables of these runs alone."""
        chosen = [i for i, spec in enumerate(self.specs) if spec.label in runs]
        specs = tuple(self.specs[i] for i in chosen)
        if len(specs) < len(runs):
            known = ", ".join(spec.label for spec in self.specs)
            raise ConfigError(f"there is no run named so among {', '.join(runs)}; use {known}")
        frames = {name: getattr(self, name) for name in COLUMNS}
        mine = {name: frame[frame["run"].isin(runs)] for name, frame in frames.items()}
        return RunResult(
            specs,
            **mine,
            corrupt=tuple(self.corrupt[i] for i in chosen),
            notes=tuple(self.notes[i] for i in chosen),
        )

    def without(self, *names: str) -> "RunResult":
        """Return the same with these tables empty, for results of many long runs."""
        frames = {name: getattr(self, name) for name in COLUMNS}
        kept = {n: typed(n, f[:0]) if n in names else f for n, f in frames.items()}
        return RunResult(self.specs, **kept, corrupt=self.corrupt, notes=self.notes)

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
        write_manifest(
            folder,
            {
                "specs": [json.loads(msgspec.json.encode(spec)) for spec in self.specs],
                "provenance": self.provenance,
                "corrupt": self.corrupt,
                "notes": self.notes,
            },
        )


def folder_of(root: Path, spec: Spec) -> Path:
    """Return the folder of a run below `root`: its label, and a hash of all that was specified."""
    label = re.sub(r"[^a-z0-9]+", "-", spec.label.lower()).strip("-")
    return root / f"{label}-{spec.digest}"


def load(folder: Path) -> RunResult:
    """Read what `save` wrote; ConfigError if the folder is not complete."""
    stated = read_manifest(folder)
    if stated is None:
        raise ConfigError(
            f"{folder} has no {MANIFEST}: that run did not finish; remove the folder and run again"
        )
    frames = {name: _read(folder / f"{name}.csv", name) for name in COLUMNS}
    specs = tuple(_spec(fields) for fields in stated["specs"])
    corrupt, notes = tuple(stated["corrupt"]), tuple(stated["notes"])
    return RunResult(specs, **frames, corrupt=corrupt, notes=notes)


def _read(path: Path, table: str) -> pd.DataFrame:
    """Read one table to the last bit; an empty text is a text, an empty number is missing."""
    kinds = types(table)
    texts = {name: str for name, kind in kinds.items() if kind == "str"}
    empty = {name: [""] for name in kinds if name not in texts}
    try:
        frame = pd.read_csv(path, dtype=texts, na_values=empty, keep_default_na=False)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: other code wrote this folder; remove it and run again"
        ) from error
    return typed(table, frame)


def _spec(fields: dict[str, Any]) -> Spec:
    """A specification as the manifest has it; only one of a trace names a trace."""
    if "trace" in fields:
        return msgspec.convert(fields, TraceSpec)
    return msgspec.convert(fields, RunSpec)
