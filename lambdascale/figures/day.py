"""A day of requests and the GPUs that served them (beyond the paper)."""

from matplotlib.figure import Figure
from pandas import DataFrame

from lambdascale.figures import style
from lambdascale.figures.systems import color_of

_LONG_S = 2 * 3600


@style.styled
def draw(frame: DataFrame, provenance: str, title: str) -> Figure:
    """Draw `from_s requests_per_s gpus`, a row per span: mean rate above, most GPUs held at once below."""
    style.need(frame, "frame", "from_s requests_per_s gpus")
    unit, seconds = ("h", 3600) if frame["from_s"].max() > _LONG_S else ("s", 1)
    times = frame["from_s"] / seconds
    sheet, ((rate,), (gpus,)) = style.grid(title, [1.5, 2.2], [8.0], provenance)
    rate.fill_between(times, frame["requests_per_s"], step="post", color="0.6", lw=0)
    rate.set_ylabel("requests/s\n(mean of a span)")
    rate.tick_params(labelbottom=False)
    color = color_of("lambdascale")
    gpus.fill_between(times, frame["gpus"], step="post", color=color, lw=0, alpha=0.75)
    gpus.set_ylabel("GPUs held at once\n(most in a span)")
    gpus.set_xlabel(f"time since the first request ({unit})")
    for axes in (rate, gpus):
        axes.set_xlim(0, float(times.max()))
        axes.set_ylim(bottom=0)
    return sheet
