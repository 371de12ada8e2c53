"""A multicast to play with in JupyterLab: change the request, the link, a slow node, a dead node, the moment.

    explorer = explore(Scenario("kway", num_nodes=8, num_sources=2, num_blocks=16))

Everything shown follows from a `State` and a `Link`, by `picture` and `told`; the widgets only make them.
Without a browser (papermill, nbval) the first state is shown as a picture.
"""

import math
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as w
from IPython.display import display
from matplotlib.figure import Figure

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.scenario import SLOWEST, Outcome, Scenario, foretell
from lambdascale.explore.controls import (
    Option,
    Told,
    choice,
    columns,
    fraction,
    named,
    observed,
    slider,
    steps,
)
from lambdascale.explore.link import LINK_GBPS, SIZES, Link, best, in_seconds
from lambdascale.figures import arrivals
from lambdascale.multicast.plan import ALGORITHMS

MOST_NODES, MOST_BLOCKS = 32, 64
LATEST = 128  # block times, of a node's death
NOBODY = "none"  # a choice whose value is None is no choice to ipywidgets
BEST = "best for the link"  # a choice of algorithm and number of blocks
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


def told(outcome: Outcome, link: Link) -> str:
    """Say in two lines of HTML which schedule it is and how long it takes, in block times and in seconds."""
    scenario = outcome.scenario
    what = f"{scenario.algorithm}, {scenario.num_blocks} blocks: "
    seconds = in_seconds(link, outcome.end, scenario.num_blocks)
    return f"{escape(what + sentence(outcome))}<br>{escape(seconds)}"


class Controls:
    """The widgets of a scenario and a link; `scenario()` reads them, and may raise ConfigError."""

    def __init__(self, first: Scenario, link: Link, best_for_link: bool) -> None:
        self.num_nodes = slider("nodes N", first.num_nodes, 2, MOST_NODES)
        self.num_sources = slider("sources k", first.num_sources, 1, MOST_NODES)
        self.num_blocks = slider("blocks b", first.num_blocks, 1, MOST_BLOCKS)
        algorithm = BEST if best_for_link else first.algorithm
        self.algorithm = named("algorithm", algorithm, [BEST, *ALGORITHMS])
        self.model = named("model", link.model, SIZES)
        self.link_gbps = steps("NIC Gbit/s", link.link_gbps, LINK_GBPS)
        self.slow_node = _node("slow node", first.slow_node)
        self.slow_rate = fraction("its rate", first.slow_rate, SLOWEST, 1, 0.05)
        self.killed_node = _node("killed", first.killed_node)
        self.killed_at = fraction("at time", first.killed_at, 0, LATEST, 0.5)

    @property
    def link(self) -> Link:
        return Link(self.model.value, self.link_gbps.value)

    def scenario(self) -> Scenario:
        algorithm, num_blocks = self.algorithm.value, self.num_blocks.value
        self.num_blocks.disabled = algorithm == BEST
        if algorithm == BEST:
            nodes, sources = self.num_nodes.value, self.num_sources.value
            algorithm, num_blocks = best(self.link, nodes, sources, MOST_BLOCKS)
        return Scenario(
            algorithm,
            self.num_nodes.value,
            self.num_sources.value,
            num_blocks,
            _chosen(self.slow_node),
            self.slow_rate.value,
            _chosen(self.killed_node),
            self.killed_at.value,
        )

    def all(self) -> list[w.Widget]:
        return list(vars(self).values())

    def box(self) -> w.Box:
        return columns(
            (self.num_nodes, self.num_sources, self.algorithm, self.num_blocks),
            (self.model, self.link_gbps, self.slow_node, self.slow_rate),
            (w.Label(" "), w.Label(" "), self.killed_node, self.killed_at),
        )


class Explorer:
    """Controls, lines of text, a picture, and a clock that can be played."""

    def __init__(
        self, first: Scenario, link: Link | None = None, best_for_link: bool = False
    ) -> None:
        self.controls = Controls(first, link or Link(), best_for_link)
        self.play = w.Play(interval=FRAME_MS, repeat=True, description="play")
        self.now = w.IntSlider(description="moment", layout=w.Layout(width="32em"))
        self.told = Told()
        clock = w.HBox([self.play, self.now])
        self.box = w.VBox([self.controls.box(), clock, self.told.line, self.told.image])
        self._restart()
        self._link = w.jslink((self.play, "value"), (self.now, "value"))
        observed(self.controls.all(), self._restart)
        observed([self.now], self._show)

    def _restart(self) -> None:
        """Show the end of a new scenario; of one that cannot work, why."""
        try:
            self._outcome = foretell(self.controls.scenario())
        except LambdaScaleError as error:
            self.told.complain(error)
            return
        end = max(1, math.ceil(self._outcome.span))
        for clock in (self.play, self.now):
            clock.max = end
            clock.value = end
        self._show()

    def _show(self) -> None:
        sheet = arrivals.draw(self._outcome, float(self.now.value))
        self.told.show(told(self._outcome, self.controls.link), sheet)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, object]:
        """The widgets, and for a reader without them the picture of this moment."""
        return self.told.bundle(self.box)


def explore(first: Scenario, link: Link | None = None, best_for_link: bool = False) -> Explorer:
    """Show an explorer of `first` below the cell; `best_for_link`: algorithm and blocks follow from the link.

    Raises ConfigError if the scenario cannot work or its sliders end before.
    """
    limits = (
        ("nodes", first.num_nodes, 2, MOST_NODES),
        ("blocks", first.num_blocks, 1, MOST_BLOCKS),
        ("killed_at", first.killed_at, 0, LATEST),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}; the explorer has {least} to {most}")
    picture(State(first))
    shown = Explorer(first, link, best_for_link)
    display(shown)
    return shown


def _node(description: str, node: int | None) -> w.Widget:
    options: list[Option] = [(NOBODY, NOBODY), *((str(n), n) for n in range(MOST_NODES))]
    return choice(description, NOBODY if node is None else node, options)


def _chosen(control: w.Widget) -> int | None:
    return None if control.value == NOBODY else int(control.value)
