"""Widgets that every explorer is built of: sliders and choices of one look, a line of text, a picture."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import ipywidgets as w
from matplotlib.figure import Figure

from lambdascale.figures import style

Option = tuple[str, Any]


class Told:
    """A line of text and a picture; of something that cannot work the line says why, without a picture."""

    def __init__(self) -> None:
        self.line = w.HTML()
        self.image = w.Image(format="png")

    def show(self, line: str, sheet: Figure) -> None:
        """Show a line of HTML and a figure."""
        self.line.value = line
        self.image.value = style.png(sheet)
        self.image.layout.display = None

    def bundle(self, box: w.Widget) -> dict[str, object]:
        """Return what Jupyter shows of `box`; for a reader without widgets this picture or complaint."""
        if self.image.layout.display == "none":
            return bundle(box, text_html=self.line.value)
        return bundle(box, png=self.image.value)

    def complain(self, error: Exception) -> None:
        """Show an error as one line."""
        self.line.value = complaint(error)
        self.image.layout.display = "none"


def bundle(
    box: w.Widget, text_html: str = "", svg: str = "", png: bytes = b""
) -> dict[str, object]:
    """Return what Jupyter shows: the widgets, and for a reader without them a text or a picture."""
    picture = b64encode(png).decode("ascii")
    other = {"text/html": text_html, "image/svg+xml": svg, "image/png": picture}
    return dict(box._repr_mimebundle_()) | {kind: it for kind, it in other.items() if it}


def complaint(error: Exception) -> str:
    """Return an error as one line of HTML."""
    return f'<b style="color: #b00020">{escape(" ".join(str(error).split()))}</b>'


def slider(description: str, value: int, least: int, most: int) -> w.Widget:
    """Return a slider over whole numbers that tells its value when it is let go."""
    return w.IntSlider(value, least, most, continuous_update=False, **_shape(description))


def fraction(description: str, value: float, least: float, most: float, step: float) -> w.Widget:
    """Return a slider over numbers."""
    return w.FloatSlider(
        value, min=least, max=most, step=step, continuous_update=False, **_shape(description)
    )


def steps(description: str, value: object, values: Iterable[object]) -> w.Widget:
    """Return a slider over these values."""
    options = [(str(one), one) for one in values]
    return w.SelectionSlider(
        options=options, value=value, continuous_update=False, **_shape(description)
    )


def choice(description: str, value: object, options: Sequence[Option]) -> w.Widget:
    """Return a drop-down list of (text, value)."""
    return w.Dropdown(options=options, value=value, **_shape(description))


def named(description: str, value: str, names: Iterable[str]) -> w.Widget:
    """Return a drop-down list of names."""
    return choice(description, value, [(name, name) for name in names])


def observed(controls: Iterable[w.Widget], changed: Callable[[], None]) -> None:
    """Call `changed` whenever one of `controls` has another value."""
    for control in controls:
        control.observe(lambda _: changed(), names="value")


def columns(*columns: Sequence[w.Widget]) -> w.Box:
    """Put controls side by side in columns of equal width."""
    layout = w.Layout(width=f"{100 // len(columns)}%")
    return w.HBox([w.VBox(column, layout=layout) for column in columns])


def _shape(description: str) -> dict[str, Any]:
    """As wide as the column, the description as wide as it has to be."""
    layout, look = w.Layout(width="96%"), {"description_width": "6em"}
    return {"description": description, "layout": layout, "style": look}
