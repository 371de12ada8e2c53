"""The least that loading one whole copy of a model takes, by where it comes from (Table 1 in seconds)."""

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style


@style.styled
def draw(floors: DataFrame) -> Figure:
    """Draw one panel per testbed with a group of bars per model; x seconds, logarithmic.

    floors: one row per bar with `testbed`, `model`, `from`, `seconds`.
    """
    style.need(floors, "floors", "testbed model from seconds")
    places = style.labels(floors, "from")
    colors = dict(zip(places, sns.color_palette("colorblind", len(places)), strict=True))
    testbeds = style.labels(floors, "testbed")
    models = [floors.loc[floors["testbed"] == name, "model"].nunique() for name in testbeds]
    heights = [0.3 + 0.75 * num for num in models]
    sheet, panels = style.panels("Loading one copy: bytes over rate", heights, "simulated")
    for panel, testbed in zip(panels, testbeds, strict=True):
        _bars(panel, floors[floors["testbed"] == testbed], colors)
        panel.set(title=testbed, xscale="log", xlim=(0.1, 2 * floors["seconds"].max()))
    panels[-1].set_xlabel("time to load one whole copy, at least (s)")
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style.legend_beside(panels[0], title="from")
    return sheet


def _bars(panel: Axes, floors: DataFrame, colors: dict[str, tuple[float, float, float]]) -> None:
    models = style.labels(floors, "model")
    height = 0.8 / len(colors)
    for number, (place, color) in enumerate(colors.items()):
        mine = floors[floors["from"] == place]
        rows = [models.index(model) + (number - 1) * height for model in mine["model"]]
        bars = panel.barh(rows, mine["seconds"], height=height, color=color, label=place)
        panel.bar_label(bars, [f"{seconds:.2f} s" for seconds in mine["seconds"]], padding=3,
                        fontsize="small")  # fmt: skip
    panel.set_yticks(range(len(models)), models)
    panel.set_ylim(len(models) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
