"""A trace with fewer or more requests in the same time: thinned, or joined by copies of its requests.

Bursts stay where they are and as long as they are, which faster arrivals would change: the way to find how
much load a cluster can take. A factor only adds requests to those of a smaller one, so a search over
factors is monotone.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from lambdascale.errors import ConfigError
from lambdascale.workload.trace import TraceRow

WITHIN_S = 1.0


def scaled(
    rows: Sequence[TraceRow], factor: float, seed: int, within_s: float = WITHIN_S
) -> tuple[TraceRow, ...]:
    """Return `factor` times as many requests on average, each row kept, dropped or repeated by chance.

    Copies of a request come up to `within_s` after it, with its lengths. With factor 1 nothing changes.
    Raises ConfigError.

    >>> rows = [TraceRow(0.0, 8, 4), TraceRow(3.0, 6, 2)]
    >>> [(round(row.arrival_s, 1), row.prompt_tokens) for row in scaled(rows, 2.0, seed=0)]
    [(0.0, 8), (0.8, 8), (3.0, 6), (3.4, 6)]
    """
    if not 0 < factor < math.inf or not 0 <= within_s < math.inf:
        raise ConfigError(
            f"factor is {factor} and within_s {within_s}; give a factor above 0 and seconds of at least 0"
        )
    chance = Random(seed)
    whole, part = int(factor), factor % 1
    counts = [whole + (chance.random() < part) for _ in rows]
    copies = [
        row if copy == 0 else replace(row, arrival_s=row.arrival_s + late_s)
        for copy in range(max(counts, default=0))
        for row, count, late_s in zip(
            rows, counts, _lateness(rows, copy, seed, within_s), strict=True
        )
        if copy < count
    ]
    return tuple(sorted(copies, key=lambda row: row.arrival_s))


def thinned(rows: Sequence[TraceRow], rate: float, seed: int) -> tuple[TraceRow, ...]:
    """Return requests drawn at random so that about `rate` per second are left; all, if there are no more."""
    if not 0 < rate < math.inf:
        raise ConfigError(f"rate is {rate}; give requests per second, above 0")
    if not rows:
        return ()
    return scaled(rows, min(1.0, rate * rows[-1].arrival_s / len(rows)), seed)


def _lateness(rows: Sequence[TraceRow], copy: int, seed: int, within_s: float) -> list[float]:
    """How late each row's copy number `copy` is, whether it exists or not."""
    draw = Random(f"{seed}/{copy}")
    return [within_s * draw.random() for _ in rows]
