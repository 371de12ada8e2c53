"""What a lender does in one step: its residents' rows, and with them the lent parts of all pipelines.

Below the ridge of the device the weights are read anyway, so lent rows cost nothing there; above it every
row costs. Residents may wait at most MAX_SLOWDOWN times as long for a token.
"""

from collections.abc import Mapping, Sequence

from lambdascale.pipeline.costs import Device, ModelCosts, step_seconds
from lambdascale.pipeline.stages import Stage

MAX_SLOWDOWN = 1.2  # per token, of requests resident at a source
MAX_ROWS = 1 << 14  # of one pipeline in one step

Lent = Sequence[Stage]  # the lender's own stages in one pipeline


def lender_step_s(
    device: Device, model: ModelCosts, resident: int, lent: Mapping[int, int]
) -> float:
    """Return the seconds of a step: `resident` rows everywhere, `lent[p]` more rows in part p."""
    rows = [resident + lent.get(p, 0) for p in range(model.layout.num_parts)]
    launch_s = device.forward_s(model.layout, 0, 1, 1)
    return step_seconds(device, model.layout, rows, launch_s)


def lent_rows(pipelines: Sequence[Lent], rows: int) -> dict[int, int]:
    """Return the rows per part if each pipeline sends `rows` through what it borrows, all batched."""
    total: dict[int, int] = {}
    for stage in (stage for lent in pipelines for stage in lent):
        for part in range(stage.first, stage.stop):
            total[part] = total.get(part, 0) + rows
    return total


def slowdown(
    device: Device, model: ModelCosts, resident: int, pipelines: Sequence[Lent], rows: int
) -> float:
    """Return by which factor a token of a resident takes longer; 1 if nobody is resident."""
    if resident == 0:
        return 1.0
    with_lent = lender_step_s(device, model, resident, lent_rows(pipelines, rows))
    return with_lent / lender_step_s(device, model, resident, {})


def lendable_rows(
    device: Device,
    model: ModelCosts,
    resident: int,
    pipelines: Sequence[Lent],
    limit: float = MAX_SLOWDOWN,
    max_rows: int = MAX_ROWS,
) -> int:
    """Return the most rows per pipeline and step, up to `max_rows`, that keep residents within `limit`."""
    low, high = 0, max_rows
    while low < high:
        middle = (low + high + 1) // 2
        if slowdown(device, model, resident, pipelines, middle) <= limit:
            low = middle
        else:
            high = middle - 1
    return low
