"""Progress of a run in a notebook: a bar of blocks per node, the phase, and the tokens so far.

    result = run(spec, watch=progress(spec))

Works without a display, too (papermill, nbval): it is then a widget that nobody looks at.
"""

import time
from collections import Counter
from collections.abc import Callable
from html import escape

from IPython.display import display
from ipywidgets import HTML, IntProgress, VBox

from lambdascale.cluster.records import BlockRecord, PhaseRecord, Record, TokenRecord
from lambdascale.experiments.spec import RunSpec

PERIOD_S = 0.1  # between updates; a browser sees no more, and the run has better things to do


class Progress:
    """Counts records and shows the counts; called by the thread of the run."""

    def __init__(self, spec: RunSpec, clock: Callable[[], float] = time.monotonic) -> None:
        scale = spec.scale
        self.bars = {
            node: IntProgress(max=scale.num_blocks, description=f"node {node}")
            for node in scale.destinations
        }
        self.line = HTML()
        self.box = VBox([*self.bars.values(), self.line])
        self._label = spec.label
        self._clock = clock
        self._shown_s = 0.0
        self._blocks: Counter[int] = Counter()
        self._num_tokens = 0
        self._phase = "starting"
        self._show()

    def __call__(self, record: Record) -> None:
        match record:
            case BlockRecord():
                self._blocks[record.node] += 1
            case TokenRecord():
                self._num_tokens += 1
            case PhaseRecord():
                self._phase = f"{record.phase} ({max(record.time_s, 0):.2f} s)"
        if isinstance(record, PhaseRecord) or self._clock() >= self._shown_s + PERIOD_S:
            self._show()

    def _show(self) -> None:
        self._shown_s = self._clock()
        for node, bar in self.bars.items():
            bar.value = self._blocks[node]
        self.line.value = f"{escape(self._label)}: {self._phase} · {self._num_tokens} tokens"


def progress(spec: RunSpec) -> Progress:
    """Show the progress of a run of `spec` below the cell; pass it to `run` as `watch`."""
    shown = Progress(spec)
    display(shown.box)
    return shown
