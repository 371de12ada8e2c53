"""What a notebook leaves behind when it is given a folder: its runs, figures, tables and claims.

In JupyterLab the folder is the empty text: everything is shown and nothing is written.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lambdascale.experiments import claims
from lambdascale.experiments.cached import Case, replay_each, run_each
from lambdascale.experiments.chrome_trace import save_chrome_trace
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import Watch, ignore
from lambdascale.experiments.spec import RunSpec
from lambdascale.figures import style


class Report:
    """Keeps what it is shown in `folder`; each method returns what a notebook cell shows."""

    def __init__(self, folder: str = "") -> None:
        self._folder = Path(folder) if folder else None
        self._claims: list[claims.Claim] = []

    def run(
        self, *specs: RunSpec, watch: Callable[[RunSpec], Watch] = lambda _: ignore
    ) -> RunResult:
        """Run each of `specs`, or load its result if the folder holds it; return them as one."""
        return run_each(specs, watch, self._folder)

    def replay(self, *cases: Case) -> RunResult:
        """Replay each trace as its specification says, or load its result; return them as one."""
        return replay_each(cases, self._folder)

    def figure(self, name: str, sheet: Figure) -> Figure:
        """Keep a figure as PNG and PDF."""
        if self._folder:
            style.save(sheet, self._folder / "figures" / name)
        return sheet

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a table as CSV."""
        if self._folder:
            frame.to_csv(self._folder / f"{name}.csv", index=False)
        return frame

    def chrome_trace(self, name: str, result: RunResult) -> None:
        """Keep what happened when, for ui.perfetto.dev."""
        if self._folder:
            save_chrome_trace(result, self._folder / f"{name}.trace.json")

    def claims(self, new: Iterable[claims.Claim]) -> None:
        """Keep claims, and print them: expected against obtained."""
        new = list(new)
        self._claims += new
        if self._folder:
            claims.save(self._claims, self._folder)
        print(claims.table(new))
