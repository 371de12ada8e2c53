"""What a notebook leaves behind when it is given a folder: its runs, figures, tables and metrics.

In JupyterLab the folder is the empty text: everything is shown and nothing is written. What is claimed of a
metric is in `artifact/claims.yaml`; a notebook only says what it obtained.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lambdascale.claims import metric as metrics
from lambdascale.claims import table
from lambdascale.claims.book import book
from lambdascale.claims.metric import Metric
from lambdascale.experiments.cached import Case, replay_each, run_each
from lambdascale.experiments.chrome_trace import save_chrome_trace
from lambdascale.experiments.clusters import Cluster, S
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import Watch, ignore
from lambdascale.experiments.spec import RunSpec
from lambdascale.figures import kept, style
from lambdascale.fleet.placement import Placement

FIGURES = "figures"


class Report:
    """Keeps what it is shown in `folder`; each method returns what a notebook cell shows.

    `cluster` is the file of the cluster that real runs go to; empty: they stay on this machine.
    """

    def __init__(self, folder: str = "", cluster: str = "") -> None:
        self._folder = Path(folder) if folder else None
        self._cluster = Cluster.read(Path(cluster)) if cluster else None
        self._metrics: dict[str, Metric] = {}

    def placed(self, spec: S) -> S:
        """Return `spec` as it is on the cluster, if there is one."""
        return self._cluster.placed(spec) if self._cluster else spec

    @property
    def _placement(self) -> Placement | None:
        return self._cluster.file.agents if self._cluster else None

    def run(
        self, *specs: RunSpec, watch: Callable[[RunSpec], Watch] = lambda _: ignore
    ) -> RunResult:
        """Run each of `specs`, or load its result if the folder holds it; return them as one."""
        return run_each(specs, watch, self._folder, self._placement)

    def replay(self, *cases: Case, without: Sequence[str] = ()) -> RunResult:
        """Replay each trace as its specification says, or load its result; return them as one.

        `without`: tables that are not kept, as of many long runs.
        """
        return replay_each(cases, self._folder, without, self._placement)

    def draw(self, name: str, drawing: ModuleType, *frames: pd.DataFrame, **options: Any) -> Figure:
        """Draw `drawing.draw(*frames, **options)`; keep it, and its frames, to be drawn again without a run.

        `drawing` is a module of `lambdascale.figures`. Frames should be small: they are committed.
        """
        if self._folder:
            return kept.keep(self._folder / FIGURES, name, drawing, frames, **options)
        sheet: Figure = drawing.draw(*frames, **options)
        return sheet

    def figure(self, name: str, sheet: Figure) -> Figure:
        """Keep a figure as PNG and PDF that is not drawn from frames; others go to `draw`."""
        if self._folder:
            style.save(sheet, self._folder / FIGURES / name)
        return sheet

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a table as CSV, without any time or name of this machine."""
        if self._folder:
            kept.write_csv(frame, self._folder / f"{name}.csv")
        return frame

    def chrome_trace(self, name: str, result: RunResult) -> None:
        """Keep what happened when, for ui.perfetto.dev."""
        if self._folder:
            save_chrome_trace(result, self._folder / f"{name}.trace.json")

    def metric(
        self, name: str, value: float | Iterable[float], provenance: str, note: str = ""
    ) -> None:
        """Keep a named number, or the same at several points, as claims are judged by; print it.

        A name replaces what was reported under it before.
        """
        new = metrics.metric(name, value, provenance, note)
        self._keep([new])
        print(table.line(new, book()))

    def metrics(self, new: Iterable[Metric]) -> None:
        """Keep metrics, and print them in one table beside what is claimed of them."""
        new = list(new)
        self._keep(new)
        print(table.reported(new, book()))

    def _keep(self, new: Iterable[Metric]) -> None:
        self._metrics |= {metric.name: metric for metric in new}
        if self._folder:
            metrics.save(self._metrics.values(), self._folder)
