"""The widgets of a what-if: lists and sliders for the question, numbers and a figure for the answer.

    box = what_if(WhatIf("llama-2-13b", num_nodes=12))

The answer to the question before stays beside it, so that a change is seen.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as w
from IPython.display import display

from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.summary import end_s
from lambdascale.experiments.systems import SYSTEMS
from lambdascale.explore.controls import (
    Told,
    columns,
    fraction,
    named,
    observed,
    slider,
    steps,
)
from lambdascale.explore.whatif import (
    ARRIVALS,
    LINK_GBPS,
    LONGEST_IDLE_S,
    MODELS,
    MOST_NODES,
    POLICIES,
    RATES,
    Answer,
    WhatIf,
    answer,
)
from lambdascale.figures import comparison
from lambdascale.figures.comparison import Side
from lambdascale.sim.engine_spec import ENGINES

NUMBERS = (
    ("first token, median", "ttft_p50_s", "{:.3f} s"),
    ("first token, P90", "ttft_p90_s", "{:.3f} s"),
    ("first token, P99", "ttft_p99_s", "{:.3f} s"),
    ("GPU-seconds", "gpu_s", "{:,.0f}"),
    ("tokens/s", "tokens_per_s", "{:,.0f}"),
    ("most nodes at once", "most_nodes", "{}"),
)
NAMES = ("now", "before")
_CELL = 'style="text-align: right; padding: 0 0.8em"'


class WhatIfBox:
    """Widgets that make a `WhatIf`, and show its answer beside the one before."""

    def __init__(self, first: WhatIf) -> None:
        self.model = named("model", first.model, MODELS)
        self.num_nodes = slider("nodes", first.num_nodes, 0, MOST_NODES)
        self.link_gbps = steps("link Gbit/s", first.link_gbps, LINK_GBPS)
        self.system = named("system", first.system, SYSTEMS)
        self.policy = named("scaling", first.policy, POLICIES)
        self.idle_s = fraction("keep-alive s", first.idle_s, 0, LONGEST_IDLE_S, 1)
        self.engine = named("engine", first.engine, ENGINES)
        self.arrivals = named("arrivals", first.arrivals, ARRIVALS)
        self.rate = steps("requests/s", first.rate, RATES)
        self.told = Told()
        self._seed = first.seed
        self._now: Answer | None = None
        self._before: Answer | None = None
        controls = self._controls()
        self.box = w.VBox([columns(*controls), self.told.line, self.told.image])
        self.update()
        observed([one for column in controls for one in column], self.update)

    def _controls(self) -> tuple[tuple[w.Widget, ...], ...]:
        return (
            (self.model, self.num_nodes, self.link_gbps),
            (self.system, self.policy, self.idle_s),
            (self.engine, self.arrivals, self.rate),
        )

    def asked(self) -> WhatIf:
        """Return what the widgets ask; ConfigError if it cannot be."""
        return WhatIf(
            model=self.model.value,
            num_nodes=self.num_nodes.value,
            link_gbps=self.link_gbps.value,
            system=self.system.value,
            policy=self.policy.value,
            engine=self.engine.value,
            arrivals=self.arrivals.value,
            rate=self.rate.value,
            idle_s=self.idle_s.value,
            seed=self._seed,
        )

    def update(self) -> None:
        """Answer the question; of one that cannot be, say why."""
        try:
            found = answer(self.asked())
        except LambdaScaleError as error:
            self.told.complain(error)
            return
        if self._now is not None and found.asked != self._now.asked:
            self._before = self._now
        self._now = found
        answers = [a for a in (self._now, self._before) if a]
        sheet = comparison.draw(
            [_side(name, a) for name, a in zip(NAMES, answers, strict=False)],
            provenance="simulated",
            panels=("ttft", "nodes"),
        )
        self.told.show(numbers_html(answers), sheet)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widgets, and for a reader without them the figure, or what is wrong."""
        return self.told.bundle(self.box)


def numbers_html(answers: Sequence[Answer]) -> str:
    """Return a table of the numbers, one row per answer: now, before."""
    head = "".join(f"<th {_CELL}>{escape(title)}</th>" for title, _, _ in NUMBERS)
    rows = [
        f"<tr><th {_CELL}>{name}</th>{''.join(_cell(found, *number) for number in NUMBERS)}</tr>"
        for name, found in zip(NAMES, answers, strict=False)
    ]
    return f"<table style='line-height: 1.4'><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def numbers_text(found: Answer) -> str:
    """Return the numbers of one answer, one a line."""
    return "\n".join(f"{title:22}{_text(found, field, form)}" for title, field, form in NUMBERS)


def what_if(first: WhatIf) -> WhatIfBox:
    """Show the widgets below the cell, with the answer to `first`."""
    shown = WhatIfBox(first)
    display(shown)
    return shown


def _cell(found: Answer, _: str, field: str, form: str) -> str:
    return f"<td {_CELL}>{_text(found, field, form)}</td>"


def _text(found: Answer, field: str, form: str) -> str:
    return form.format(getattr(found, field)).replace("inf s", "never")


def _side(name: str, found: Answer) -> Side:
    result = found.result
    tables = {table: getattr(result, table) for table, _ in comparison.COLUMNS.values()}
    return Side(name, tables, end_s(result))
