"""Lines through measured times: cost of an operation and rate, as the cost models have them. Pure.

A series is one thing measured over its size: `series unit x seconds`, one row per size.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.model.layout import ImageLayout

COLUMNS = ("series", "unit", "x", "seconds", "fitted_s", "residual")


@dataclass(frozen=True, slots=True)
class Line:
    """seconds = `cost_s` + x ÷ `rate`."""

    cost_s: float
    rate: float

    def seconds(self, x: float) -> float:
        """Return what something of size `x` takes."""
        return self.cost_s + x / self.rate


def fit_line(x: list[float], seconds: list[float]) -> Line:
    """Return the line that fits best, every point by its relative error; its cost is not below 0.

    >>> fit_line([1e6, 2e6, 8e6], [2e-3, 3e-3, 9e-3])
    Line(cost_s=0.001, rate=1000000000.0)
    """
    if len(set(x)) < 2:
        raise ConfigError(f"a line through the sizes {x} is not determined; measure two or more")
    sizes, times = np.array(x, float), np.array(seconds, float)
    slope, cost = (float(value) for value in np.polyfit(sizes, times, 1, w=1 / times))
    if cost < 0:
        share = sizes / times  # through the origin: minimises Σ (slope·x ÷ seconds − 1)²
        slope, cost = float(share.sum() / (share @ share)), 0.0
    if slope <= 0:
        raise ConfigError(f"times {seconds} do not grow with the sizes {x}; measure larger ones")
    return Line(float(f"{cost:.9g}"), float(f"{1 / slope:.9g}"))


def fitted(
    series: str, unit: str, x: list[float], seconds: list[float], line: Line
) -> pd.DataFrame:
    """Return one row per size: measured, fitted, and `residual` = measured ÷ fitted − 1."""
    rows = [
        (series, unit, size, measured, line.seconds(size), measured / line.seconds(size) - 1)
        for size, measured in zip(x, seconds, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def device(decode: Line, prefill: Line) -> DeviceModel:
    """Return the device with decode steps as `decode` over bytes and prefills as `prefill` over FLOPs."""
    return DeviceModel(bandwidth=decode.rate, flops=prefill.rate, launch_s=decode.cost_s)


def residuals(table: pd.DataFrame) -> dict[str, float]:
    """Return the median |residual| of each series."""
    return {
        str(s): float(g["residual"].abs().median()) for s, g in table.groupby("series", sort=False)
    }


def read_bytes(layout: ImageLayout, stop: int) -> int:
    """Return the bytes of weights that parts [0, stop) read in a step; the embedding is a look-up."""
    return layout.part_offsets[stop] - layout.part_offsets[1]


def matrix_flops(layout: ImageLayout, num_tokens: int, width: int) -> float:
    """Return the FLOPs of all layers for so many tokens; `width` is that of a weight in bytes."""
    return 2.0 * read_bytes(layout, layout.num_parts) / width * num_tokens
