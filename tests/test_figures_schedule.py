"""The picture of a plan shows every transfer once, and the key ticks of its report."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from lambdascale.experiments.plan_report import PlanReport, plan_report
from lambdascale.figures import schedule, style
from lambdascale.multicast.plan import plan


def report(nodes: int, sources: int, blocks: int) -> PlanReport:
    return plan_report(plan("kway", nodes, sources, blocks))


@pytest.mark.parametrize("request_", [(4, 1, 1), (8, 2, 16), (7, 1, 8), (12, 2, 16)])
def test_every_transfer_is_a_cell_or_half_of_one(request_: tuple[int, int, int]) -> None:
    drawn = report(*request_)
    halves = schedule.half_cells(drawn)
    found = {
        (tick + 1, drawn["num_sources"] + half // 2, int(halves[half, tick]))
        for half, tick in np.argwhere(~np.isnan(halves))
    }
    assert found == {(t["tick"], t["dst"], t["block"]) for t in drawn["transfers"]}


def test_the_cells_numbers_and_key_ticks_are_on_the_figure() -> None:
    drawn = report(8, 2, 16)
    sheet = schedule.draw(drawn)
    panel = sheet.axes[0]
    mesh = next(artist for artist in panel.collections if isinstance(artist, QuadMesh))
    assert np.ma.count(mesh.get_array()) == 2 * len(drawn["transfers"])
    assert len(panel.texts) == len(drawn["transfers"])
    assert {line.get_xdata()[0] for line in panel.lines} == {8.5, 9.5, 17.5}
    assert sheet.get_suptitle() == "kway: 2 → 8 nodes in 17 ticks, first pipeline at tick 9"
    assert panel.get_xlabel()
    assert panel.get_ylabel()


def test_a_large_plan_is_drawn_without_numbers(tmp_path) -> None:
    sheet = schedule.draw(report(65, 4, 64))
    assert not sheet.axes[0].texts
    assert all(path.stat().st_size > 0 for path in style.save(sheet, tmp_path / "plan"))
