"""A multicast to play with in JupyterLab: change the request, a slow node, a dead node, the moment shown.

    explorer = explore(Scenario("kway", num_nodes=8, num_sources=2, num_blocks=16))

Everything shown follows from a `State`, by `picture` and `sentence`; the widgets only make one. Without a
browser (papermill, nbval) the first state is shown as a picture.
"""

import math
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as w
from IPython.display import display
from matplotlib.figure import Figure

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.scenario import SLOWEST, Outcome, Scenario, foretell
from lambdascale.figures import arrivals, style
from lambdascale.multicast.plan import ALGORITHMS

MOST_NODES, MOST_BLOCKS = 32, 64
LATEST = 128  # block times, of a node's death
NOBODY = "none"  # a choice whose value is None is no choice to ipywidgets
FRAME_MS = 250  # of the animation


@dataclass(frozen=True, slots=True)
class State:
    """What is shown: a scenario, and the moment in block times up to which it has happened."""

    scenario: Scenario
    now: float = math.inf


def picture(state: State) -> Figure:
    """Draw a state. Raises ConfigError or ScheduleError, in one line, if its scenario cannot work."""
    return arrivals.draw(foretell(state.scenario), state.now)


def sentence(outcome: Outcome) -> str:
    """Say in a line how long it takes.

    >>> sentence(foretell(Scenario("circulant", num_nodes=4, num_sources=1, num_blocks=4)))
    'all receivers hold all blocks after 5 block times, 1.00 × the lower bound (5)'
    """
    who = "all receivers" if outcome.scenario.killed_node is None else "all survivors"
    line = (
        f"{who} hold all blocks after {outcome.end:g} block times, "
        f"{outcome.end / outcome.bound:.2f} × the lower bound ({outcome.bound:g})"
    )
    slow = outcome.scenario.slow_node
    fast = [node for node in outcome.survivors if node != slow]
    if slow in outcome.survivors and fast:
        line += f"; all but the slow one after {outcome.completion(fast):g}"
    if outcome.num_repaired:
        line += f"; the repair sends {outcome.num_repaired} blocks"
    return line


class Controls:
    """The widgets of a scenario; `scenario()` reads them, and may raise ConfigError."""

    def __init__(self, first: Scenario) -> None:
        self.num_nodes = _slider("nodes N", first.num_nodes, 2, MOST_NODES)
        self.num_sources = _slider("sources k", first.num_sources, 1, MOST_NODES)
        self.num_blocks = _slider("blocks b", first.num_blocks, 1, MOST_BLOCKS)
        self.algorithm = _choice("algorithm", first.algorithm, [(a, a) for a in ALGORITHMS])
        self.slow_node = _node("slow node", first.slow_node)
        self.killed_node = _node("killed", first.killed_node)
        self.slow_rate = _fraction("its rate", first.slow_rate, SLOWEST, 1, 0.05)
        self.killed_at = _fraction("at time", first.killed_at, 0, LATEST, 0.5)

    def scenario(self) -> Scenario:
        chosen = {name: control.value for name, control in vars(self).items()}
        named: dict[str, Any] = {
            name: None if value == NOBODY else value for name, value in chosen.items()
        }
        return Scenario(**named)

    def observe(self, changed: Callable[[object], None]) -> None:
        for control in vars(self).values():
            control.observe(changed, names="value")

    def box(self) -> w.Box:
        columns = (
            (self.num_nodes, self.num_sources, self.num_blocks),
            (self.algorithm, self.slow_node, self.killed_node),
            (w.Label(" "), self.slow_rate, self.killed_at),
        )
        third = w.Layout(width="33%")
        return w.HBox([w.VBox(column, layout=third) for column in columns])


class Explorer:
    """Controls, a line of text, a picture, and a clock that can be played."""

    def __init__(self, first: Scenario) -> None:
        self.controls = Controls(first)
        self.play = w.Play(interval=FRAME_MS, repeat=True, description="play")
        self.now = w.IntSlider(description="moment", layout=w.Layout(width="32em"))
        self.line = w.HTML()
        self.image = w.Image(format="png")
        clock = w.HBox([self.play, self.now])
        self.box = w.VBox([self.controls.box(), clock, self.line, self.image])
        self._restart()
        self._link = w.jslink((self.play, "value"), (self.now, "value"))
        self.controls.observe(lambda _: self._restart())
        self.now.observe(lambda _: self._show(), names="value")

    def _restart(self) -> None:
        """Show the end of a new scenario; of one that cannot work, why."""
        try:
            self._outcome = foretell(self.controls.scenario())
        except LambdaScaleError as error:
            self.line.value = f'<b style="color: #b00020">{escape(str(error))}</b>'
            self.image.layout.display = "none"
            return
        self.line.value = escape(sentence(self._outcome))
        self.image.layout.display = None
        end = max(1, math.ceil(self._outcome.span))
        for clock in (self.play, self.now):
            clock.max = end
            clock.value = end
        self._show()

    def _show(self) -> None:
        self.image.value = style.png(arrivals.draw(self._outcome, float(self.now.value)))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widgets, and for a reader without them the picture of this moment."""
        bundle: dict[str, object] = dict(self.box._repr_mimebundle_())
        return bundle | {"image/png": b64encode(self.image.value).decode("ascii")}


def explore(first: Scenario) -> Explorer:
    """Show an explorer of `first` below the cell. ConfigError if it cannot work or its sliders end before."""
    limits = (
        ("nodes", first.num_nodes, 2, MOST_NODES),
        ("blocks", first.num_blocks, 1, MOST_BLOCKS),
        ("killed_at", first.killed_at, 0, LATEST),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}; the explorer has {least} to {most}")
    picture(State(first))
    shown = Explorer(first)
    display(shown)
    return shown


def _slider(description: str, value: int, least: int, most: int) -> w.Widget:
    return w.IntSlider(value, least, most, continuous_update=False, **_shape(description))


def _fraction(description: str, value: float, least: float, most: float, step: float) -> w.Widget:
    return w.FloatSlider(
        value, min=least, max=most, step=step, continuous_update=False, **_shape(description)
    )


def _choice(description: str, value: object, options: list[tuple[str, Any]]) -> w.Widget:
    return w.Dropdown(options=options, value=value, **_shape(description))


def _node(description: str, node: int | None) -> w.Widget:
    options = [(NOBODY, NOBODY), *((str(n), n) for n in range(MOST_NODES))]
    return _choice(description, NOBODY if node is None else node, options)


def _shape(description: str) -> dict[str, Any]:
    """As wide as the column, the description as wide as it has to be."""
    layout, style = w.Layout(width="96%"), {"description_width": "6em"}
    return {"description": description, "layout": layout, "style": style}
