"""The figures of schedule lengths, plans beside each other, and predicted arrivals."""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.text import Annotation

from lambdascale.errors import ConfigError
from lambdascale.experiments import plan_frames
from lambdascale.experiments import schedule_study as study
from lambdascale.experiments.scenario import Outcome, Scenario, foretell
from lambdascale.figures import arrivals, binomial_steps, schedule_length, schedule_pair, style
from lambdascale.multicast.plan import ALGORITHMS, plan

DISTURBED = Scenario("circulant", 6, 2, 8, slow_node=3, killed_node=4, killed_at=3.0)


def drawn_bars(outcome: Outcome, now: float) -> list[tuple[int, float, bool]]:
    """Read back from the figure: (node, time of arrival, has it happened?) of every bar."""
    panel = arrivals.draw(outcome, now).axes[0]
    found = []
    for bars in (a for a in panel.collections if isinstance(a, PolyCollection)):
        for path, color in zip(bars.get_paths(), bars.get_facecolors(), strict=True):
            x, y = path.vertices[:, 0], path.vertices[:, 1]
            found.append((round((y.min() + y.max()) / 2), float(x.max()), color[3] == 1))
    return sorted(found)


@pytest.mark.parametrize("now", [0.0, 2.0, 3.5, math.inf])
def test_every_arrival_is_a_bar_that_is_solid_once_it_has_happened(now: float) -> None:
    outcome = foretell(DISTURBED)
    expected = sorted(
        (node, time, time <= now)
        for node, own in enumerate(outcome.times)
        for time in own
        if 0 < time < math.inf
    )
    found = drawn_bars(outcome, now)
    assert [(node, solid) for node, _, solid in found] == [(n, s) for n, _, s in expected]
    assert np.allclose([t for _, t, _ in found], [t for _, t, _ in expected])


def test_bars_of_a_node_do_not_overlap_and_are_as_wide_as_its_link_is_slow() -> None:
    outcome = foretell(DISTURBED)
    for node in outcome.receivers:
        own = arrivals.bars(outcome, node)
        assert all(a[1] <= b[0] for a, b in pairwise(own))
        width = 1 / DISTURBED.rates[node]
        assert all(stop - start <= width + 1e-9 for start, stop, _ in own)
    assert max(stop - start for start, stop, _ in arrivals.bars(outcome, 3)) == 4.0


def test_the_moment_the_bound_and_the_shares_are_on_the_picture() -> None:
    outcome = foretell(DISTURBED)
    sheet = arrivals.draw(outcome, 3.5)
    nodes, shares = sheet.axes
    assert {3.5, outcome.bound} <= {line.get_xdata()[0] for line in nodes.lines}
    labels = [text.get_text() for text in nodes.get_yticklabels()]
    assert labels == ["0 (source)", "1 (source)", "2", "3 (0.25 × rate)", "4 (killed)", "5"]
    texts = [text.get_text() for text in shares.get_legend().get_texts()]
    covered, mean = outcome.covered_share(3.5), outcome.mean_share(3.5)
    assert texts == [
        f"all receivers together: {covered:.0%}",
        f"a receiver on average: {mean:.0%}",
    ]
    assert sheet.get_suptitle() == "circulant: 2 → 6 nodes, 8 blocks"


def test_the_length_of_every_algorithm_is_on_one_curve() -> None:
    frame = study.over_nodes(12, 1, 8)
    upper, lower = schedule_length.draw(frame, over="nodes").axes
    curves = {line.get_label(): line for line in upper.lines}
    bound = curves.pop("lower bound").get_ydata()
    assert sorted(name for label in curves for name in label.split(", ")) == sorted(ALGORITHMS)
    for label, line in curves.items():
        for name in label.split(", "):
            expected = frame.loc[frame["algorithm"] == name, "ticks"]
            assert list(line.get_ydata()) == list(expected)
    assert [len(line.get_xdata()) for line in lower.lines[:-1]] == [11] * len(curves)
    first = curves["star"].get_ydata()
    assert np.allclose(lower.lines[0].get_ydata(), first / bound)


def test_lengths_that_do_not_make_one_curve_are_refused() -> None:
    both = study.lengths([4, 5], 1, [4, 8])
    with pytest.raises(ConfigError, match="several values of blocks; draw them over blocks"):
        schedule_length.draw(both, over="nodes")
    with pytest.raises(ConfigError, match="over is 'time'; use one of nodes, blocks"):
        schedule_length.draw(both, over="time")


def test_plans_stand_above_one_another_on_the_same_ticks(tmp_path) -> None:
    plans = {name: plan(name, 8, 2, 4) for name in ("binomial", "kway", "tree")}
    frames = plan_frames.summary(plans), plan_frames.transfers(plans), plan_frames.pipelines(plans)
    sheet = schedule_pair.draw(*frames)
    assert len({panel.get_xlim() for panel in sheet.axes}) == 1
    for panel, (name, schedule) in zip(sheet.axes, plans.items(), strict=True):
        (mesh,) = (a for a in panel.collections if isinstance(a, QuadMesh))
        assert np.ma.count(mesh.get_array()) == 2 * len(schedule.transfers)
        assert panel.get_title("left").startswith(f"{name}: 2 → 8 nodes in")
        members = {line.get_gid() for line in panel.lines if str(line.get_gid()).startswith("PP")}
        assert members == {"PP1", "PP2", "PP3"}
    assert all(path.stat().st_size > 0 for path in style.save(sheet, tmp_path / "pair"))


def test_first_steps_are_drawn_with_an_arrow_per_block_sent() -> None:
    schedule = plan("kway", 8, 2, 4)
    steps = plan_frames.first_steps(schedule, 0, 3)
    sent = [t for t in schedule.transfers if t.tick <= 3 and t.src in schedule.subgroups[0]]
    sheet = binomial_steps.draw(steps, title="t")
    arrows = [t for panel in sheet.axes for t in panel.texts if isinstance(t, Annotation)]
    assert len(arrows) == len(sent)
    eight = plan_frames.first_steps(plan("binomial", 8, 1, 8), 0, 2)
    with pytest.raises(ConfigError, match="four corners"):
        binomial_steps.draw(eight, title="t")


def test_what_a_node_sends_first_it_held_before() -> None:
    for row in plan_frames.first_steps(plan("kway", 8, 2, 4), 1, 4).itertuples():
        assert row.block == -1 or str(row.block) in row.holds.split()
