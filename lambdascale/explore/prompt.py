"""Type a prompt, and see which nodes served each token while they were still being loaded.

    asked = ask("Why is the sky blue?", "smollm2-135m", num_sources=2, num_nodes=4)

Every prompt is a scale-out of its own: real processes, weights and bytes. The answer grows in the colours
of who serves it; the chart below it shows the blocks arriving.
"""

import time
from html import escape
from typing import Any

import ipywidgets as w
from IPython.display import display

from lambdascale.cluster.records import Record
from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.run import Watch, run
from lambdascale.experiments.spec import RunSpec
from lambdascale.explore.controls import bundle, complaint
from lambdascale.explore.live import PERIOD_S, Live
from lambdascale.explore.served import Served, answer_html, half_loaded, servers_html
from lambdascale.explore.typed import Stage

HINT = "type a prompt and press Enter"
STARTING = "{} processes start, which takes some seconds; then the blocks begin to arrive …"


class Ask:
    """A box for a prompt, the answer in the colours of its servers, and the chart of its run.

    `result` is that of the last prompt that was served.
    """

    def __init__(self, stage: Stage, first: str) -> None:
        self.result: RunResult | None = None
        self.prompt = w.Text(
            first, placeholder=HINT, continuous_update=False, layout=w.Layout(width="70%")
        )
        self.line, self.answer = w.HTML(HINT), w.HTML()
        self.chart = w.Box([Live(stage.spec).box])
        self.box = w.VBox([self.prompt, self.line, self.answer, self.chart])
        self._stage = stage
        self.prompt.observe(lambda _: self.serve(), names="value")

    def serve(self) -> None:
        """Serve the prompt in the box; of one that cannot be, say why."""
        try:
            spec, inputs = self._stage.run_of(self.prompt.value)
            self.prompt.disabled = True
            self._run(spec, inputs)
        except LambdaScaleError as error:
            self.line.value, self.answer.value = complaint(error), ""
        finally:
            self.prompt.disabled = False

    def _run(self, spec: RunSpec, inputs: Inputs) -> None:
        self.line.value = escape(STARTING.format(spec.scale.num_nodes))
        growing = Growing(spec, inputs.requests[-1].id, self._stage, self.answer)
        chart = Live(spec)
        self.chart.children = [chart.box]
        self.result = run(spec, _both(growing, chart), inputs)
        growing.show()
        self.line.value = escape(growing.sentence(self.result))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widgets, and for a reader without them the answer and the lines that explain it."""
        (chart,) = self.chart.children
        text = f"<p>{self.line.value}</p>{self.answer.value}{chart.value}"
        return bundle(self.box, text_html=text)


class Growing:
    """Shows an answer as it grows, a few times per second."""

    def __init__(self, spec: RunSpec, request: int, stage: Stage, shown: w.HTML) -> None:
        scale = spec.scale
        self._served = Served(request, scale.num_sources, scale.num_blocks, stage.tokenizer)
        self._shown, self._shown_s = shown, 0.0

    def __call__(self, record: Record) -> None:
        self._served.see(record)
        if time.monotonic() >= self._shown_s + PERIOD_S:
            self.show()

    def show(self) -> None:
        """Show what there is."""
        self._shown_s = time.monotonic()
        pieces = self._served.pieces
        self._shown.value = answer_html(pieces) + servers_html(pieces)

    def sentence(self, result: RunResult) -> str:
        """Say in one line what happened."""
        pieces = self._served.pieces
        overruns, steps = int(result.nodes["overruns"].sum()), int(result.nodes["steps"].sum())
        return (
            f"{half_loaded(pieces)} of {len(pieces)} tokens came from nodes of which none held the whole "
            f"model; first token after {pieces[0].time_s:.2f} s. {result.provenance}: {overruns} of "
            f"{steps} steps took longer than the emulated device."
        )


def _both(one: Watch, other: Watch) -> Watch:
    def watch(record: Record) -> None:
        one(record)
        other(record)

    return watch


def ask(
    first: str,
    model: str,
    num_sources: int = 2,
    num_nodes: int = 4,
    link_gbps: float = 0.8,
    step_ms: float = 100.0,
    max_tokens: int = 32,
) -> Ask:
    """Show a box for prompts below the cell, and serve `first`. Raises LambdaScaleError."""
    stage = Stage.of(model, num_sources, num_nodes, link_gbps, step_ms, max_tokens)
    shown = Ask(stage, first)
    handle = display(shown, display_id=True)
    shown.serve()
    if handle:
        handle.update(shown)
    return shown
