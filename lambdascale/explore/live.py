"""A live Gantt chart of a run in progress, fed by what the run shows to `watch`.

    result = run(spec, watch=live(spec))

Drawn a few times per second at most, however many records there are. When the run has finished, the
picture of its end takes the place of the first one, also in a notebook that nobody looks at.
"""

import time
from collections.abc import Callable
from typing import Any

from IPython.display import DisplayHandle, display
from ipywidgets import HTML, Layout

from lambdascale.cluster.records import PhaseRecord, Record
from lambdascale.experiments.results import Spec
from lambdascale.experiments.spec import RunSpec
from lambdascale.explore.controls import bundle
from lambdascale.explore.gantt import Gantt

PERIOD_S = 0.25  # between pictures


class Live:
    """A chart in a widget; called with each record by the thread of the run."""

    def __init__(self, spec: Spec, clock: Callable[[], float] = time.monotonic) -> None:
        scale = spec.scale if isinstance(spec, RunSpec) else spec
        self.box = HTML(layout=Layout(width="100%"))
        self.handle: DisplayHandle | None = None
        self._gantt = Gantt(scale.num_nodes, spec.num_sources, scale.num_blocks, spec.provenance)
        self._clock = clock
        self._shown_s = 0.0
        self.show()

    def __call__(self, record: Record) -> None:
        self._gantt.see(record)
        if self._clock() >= self._shown_s + PERIOD_S:
            self.show()
        if isinstance(record, PhaseRecord) and record.phase in ("finished", "loaded"):
            self.finish()

    def show(self) -> None:
        """Show what was seen so far."""
        self._shown_s = self._clock()
        self.box.value = self._gantt.svg()

    def finish(self) -> None:
        """Show the end, and keep it in the notebook."""
        self.show()
        if self.handle:
            self.handle.update(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widget, and for a reader without it the picture."""
        return bundle(self.box, svg=self.box.value)


def live(spec: Spec) -> Live:
    """Show a live chart of a run of `spec` below the cell; pass it to `run` as `watch`."""
    shown = Live(spec)
    shown.handle = display(shown, display_id=True)
    return shown
