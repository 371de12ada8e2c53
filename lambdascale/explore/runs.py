"""Browse the runs that are kept, choose two, and compare them in one figure.

browse("../../results")
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd
from IPython.display import display

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.browse import kept_runs
from lambdascale.experiments.results import load
from lambdascale.experiments.summary import end_s
from lambdascale.explore.controls import Told, choice, named, observed
from lambdascale.figures import comparison
from lambdascale.figures.comparison import Side

NONE = "no run is kept below {}; `make kick-the-tires` makes some"
ALL = "all"
MOST_ROWS = 40


class Runs:
    """A table of runs, two lists to choose from, and the figure that compares the two."""

    def __init__(self, root: Path) -> None:
        self._root, self.table = root, kept_runs(root)
        kinds = sorted(self.table["provenance"].unique())
        self.provenance = named("show", ALL, [ALL, *kinds])
        self.first, self.second = self._choice("first"), self._choice("second")
        self.list, self.told = w.HTML(), Told()
        self.box = w.VBox(
            [self.provenance, self.list, self.first, self.second, self.told.line, self.told.image]
        )
        self._choose()
        observed([self.provenance], self._choose)
        observed([self.first, self.second], self.compare)

    def _choice(self, description: str) -> w.Widget:
        chosen = choice(description, None, [])
        chosen.layout.width = "70%"
        return chosen

    def _choose(self) -> None:
        """List the runs of the chosen kind, and compare the two newest."""
        self._choosing, kind = True, self.provenance.value
        rows = self.table if kind == ALL else self.table[self.table["provenance"] == kind]
        self.list.value = table_html(rows)
        options = [(_name(row), row["folder"]) for row in rows.to_dict("records")]
        for place, chosen in enumerate((self.first, self.second)):
            chosen.options = options
            chosen.index = min(place, len(options) - 1) if options else None
        self._choosing = False
        self.compare()

    def compare(self) -> None:
        """Draw the two runs; of what cannot be drawn, say why."""
        if self._choosing:
            return
        folders = [f for f in dict.fromkeys([self.first.value, self.second.value]) if f]
        try:
            if not folders:
                raise ConfigError(NONE.format(self._root))
            sides = [_side(self._root / folder) for folder in folders]
            kinds = [kind for _, provenance in sides for kind in provenance.split(", ")]
            sheet = comparison.draw(
                [one for one, _ in sides], provenance=", ".join(dict.fromkeys(kinds))
            )
        except LambdaScaleError as error:
            self.told.complain(error)
        else:
            self.told.show("", sheet)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widgets, and for a reader without them the picture or what is missing."""
        return self.told.bundle(self.box)


def table_html(rows: pd.DataFrame) -> str:
    """Return the newest runs as a table."""
    shown = rows.head(MOST_ROWS).to_html(index=False, border=0, justify="left")
    more = len(rows) - MOST_ROWS
    return shown + (f"<p>and {more} older ones</p>" if more > 0 else "")


def browse(results: str) -> Runs:
    """Show the runs that are kept below the folder `results`, below the cell."""
    shown = Runs(Path(results))
    display(shown)
    return shown


def _side(folder: Path) -> tuple[Side, str]:
    """A run as a side of the comparison, and its provenance."""
    result = load(folder)
    tables = {table: getattr(result, table) for table, _ in comparison.COLUMNS.values()}
    labels = ", ".join(spec.label for spec in result.specs)
    name = f"{labels} ({result.provenance}, {folder.name.rpartition('-')[2]})"
    return Side(name, tables, end_s(result)), result.provenance


def _name(row: Mapping[Hashable, Any]) -> str:
    return f"{row['run']} · {row['provenance']} · {row['date']} · {row['digest']}"
