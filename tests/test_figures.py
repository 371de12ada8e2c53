"""Figures draw what the frames say: every row of a frame is found again among the artists."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from lambdascale.errors import ConfigError
from lambdascale.figures import (
    block_gantt,
    first_token,
    multicast_latency,
    style,
    throughput,
    timeline,
)

RUNS = ("execute-while-load", "load-then-serve")
TICK_S = 0.25
NUM_BLOCKS = 16


def blocks_frame() -> pd.DataFrame:
    """Two sources, two destinations: node 2 starts with block 0, node 3 with block 8."""
    rows = [
        (run, node, (tick + 8 * (node - 2)) % NUM_BLOCKS, node - 2, (tick + 1) * TICK_S)
        for run in RUNS
        for node in (2, 3)
        for tick in range(NUM_BLOCKS)
    ]
    frame = pd.DataFrame(rows, columns=["run", "node", "block", "src", "arrived_s"])
    return frame.assign(verified_s=frame["arrived_s"] + 0.01)


def nodes_frame() -> pd.DataFrame:
    rows = [
        (run, node, *(("source", 0.0, 0.0) if node < 2 else ("destination", 4.0, 4.05 + node / 20)))
        for run in RUNS
        for node in range(4)
    ]
    frame = pd.DataFrame(rows, columns=["run", "node", "role", "complete_s", "switched_s"])
    return frame.assign(steps=100, overruns=0)


def pipelines_frame() -> pd.DataFrame:
    columns = ["run", "pipeline", "kind", "node", "first", "stop", "formed_s", "dissolved_s"]
    rows = [
        (run, node, "replica", node, 0, 32, 0.0 if node < 2 else 4.1, np.nan)
        for run in RUNS
        for node in range(4)
    ]
    rows.append((RUNS[0], 4, "pipeline", 2, 0, 17, 2.02, 4.1))
    rows.append((RUNS[0], 4, "pipeline", 3, 17, 32, 2.02, 4.1))
    return pd.DataFrame(rows, columns=columns)


def tokens_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sources = [(run, t, "replica") for run in RUNS for t in rng.uniform(0.2, 9, 400)]
    receivers = [(run, t, "replica") for run in RUNS for t in rng.uniform(4.2, 9, 250)]
    mid_load = [(RUNS[0], t, "pipeline") for t in rng.uniform(2.2, 4.2, 50)]
    return pd.DataFrame(sources + receivers + mid_load, columns=["run", "time_s", "kind"])


def requests_frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    waits = {RUNS[0]: (2.4, 3.0), RUNS[1]: (4.3, 4.9)}
    rows = [
        (run, wait)
        for run in RUNS
        for wait in [*rng.uniform(0.2, 0.9, 12), *rng.uniform(*waits[run], 12)]
    ]
    return pd.DataFrame(rows, columns=["run", "ttft_s"])


def latency_frame() -> pd.DataFrame:
    one_copy = 4.0
    rows = [
        (system, nodes, NUM_BLOCKS, one_copy * factor(nodes) * noise, one_copy, provenance)
        for system, factor in (
            ("binomial pipeline", lambda n: 1 + np.ceil(np.log2(n) - 1) / NUM_BLOCKS),
            ("star", lambda n: n - 1.0),
        )
        for nodes in (2, 3, 4, 6, 8)
        for provenance, noises in (("emulated", (1.03, 1.05, 1.09)), ("simulated", (1.0,)))
        if provenance == "simulated" or nodes <= 4
        for noise in noises
    ]
    columns = ["system", "nodes", "blocks", "seconds", "one_copy_s", "provenance"]
    return pd.DataFrame(rows, columns=columns)


def phases_frame() -> pd.DataFrame:
    rows = [
        (run, phase, start, seconds)
        for run in RUNS
        for phase, start, seconds in (
            ("agents up", -3.4, 1.9),
            ("prepared", -1.5, 1.4),
            ("connected", -0.1, 0.1),
            ("pipeline formed", 0.0, 2.0),
            ("complete", 2.0, 2.05),
            ("switched", 4.05, 0.12),
        )
        if run == RUNS[0] or phase != "pipeline formed"
    ]
    return pd.DataFrame(rows, columns=["run", "phase", "start_s", "seconds"])


def gantt() -> Figure:
    frames = blocks_frame(), nodes_frame(), pipelines_frame()
    return block_gantt.draw(*frames, provenance="emulated")


DRAWN = {
    "block_gantt": gantt,
    "throughput": lambda: throughput.draw(tokens_frame(), provenance="emulated"),
    "first_token": lambda: first_token.draw(requests_frame(), provenance="emulated"),
    "multicast_latency": lambda: multicast_latency.draw(latency_frame()),
    "timeline": lambda: timeline.draw(phases_frame(), provenance="measured"),
}


def bar_spans(panel, color: str) -> list[tuple[float, float]]:
    """The (start, end) of every horizontal bar of that face colour."""
    return sorted(
        (path.vertices[:, 0].min(), path.vertices[:, 0].max())
        for bars in panel.collections
        if isinstance(bars, PolyCollection)
        for path, face in zip(
            bars.get_paths(), np.resize(bars.get_facecolor(), (99, 4)), strict=False
        )
        if tuple(face) == to_rgba(color)
    )


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_names_its_axes_and_its_provenance(name: str) -> None:
    sheet = DRAWN[name]()
    assert "(s)" in sheet.axes[0].get_ylabel() + sheet._suptitle.get_text() + "".join(
        axes.get_xlabel() for axes in sheet.axes
    )
    (stamp,) = [text for text in sheet.texts if text.get_gid() == "provenance"]
    expected = {"multicast_latency": "emulated + simulated", "timeline": "measured"}
    assert stamp.get_text() == expected.get(name, "emulated")


@pytest.mark.parametrize("name", DRAWN)
def test_saving_twice_writes_the_same_bytes(name: str, tmp_path) -> None:
    first = style.save(DRAWN[name](), tmp_path / "first" / name)
    second = style.save(DRAWN[name](), tmp_path / "second" / name)
    assert [path.suffix for path in first] == [".png", ".pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000


def test_a_figure_shows_itself_in_a_notebook() -> None:
    assert gantt()._repr_png_().startswith(b"\x89PNG")


def test_a_figure_leaves_the_callers_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    gantt()
    assert dict(mpl.rcParams) == before


def test_the_gantt_has_a_bar_for_every_block_and_every_stage() -> None:
    sheet = gantt()
    with_load, load_first = sheet.axes[:2]
    assert [panel.get_title(loc="left") for panel in (with_load, load_first)] == list(RUNS)
    stages = bar_spans(with_load, style.KIND_COLORS["pipeline"])
    assert stages == [(2.02, 4.1), (2.02, 4.1)]
    assert bar_spans(load_first, style.KIND_COLORS["pipeline"]) == []
    replicas = bar_spans(with_load, style.KIND_COLORS["replica"])
    assert [start for start, _ in replicas] == [0.0, 0.0, 4.1, 4.1]
    num_bars = sum(len(bars.get_paths()) for bars in with_load.collections)
    assert num_bars == 2 * NUM_BLOCKS + len(stages) + len(replicas)
    assert {text.get_text() for text in with_load.texts} == {
        "parts 0–16",
        "parts 17–31",
        "holds every block",
    }


def test_the_gantt_ends_each_bar_at_the_arrival_and_marks_the_switch() -> None:
    panel = gantt().axes[0]
    node_2 = next(bars for bars in panel.collections if len(bars.get_paths()) == NUM_BLOCKS)
    ends = [path.vertices[:, 0].max() for path in node_2.get_paths()]
    assert ends == pytest.approx([(tick + 1) * TICK_S for tick in range(NUM_BLOCKS)])
    (switches,) = [line for line in panel.lines if line.get_gid() == "switches"]
    assert switches.get_xdata() == pytest.approx([4.15, 4.2])
    assert list(switches.get_ydata()) == [2, 3]


def test_the_gantt_draws_a_run_in_which_nothing_has_switched_yet() -> None:
    nodes = nodes_frame().astype(object).assign(switched_s=None)
    pipelines = pipelines_frame().astype(object).assign(dissolved_s=None)
    panel = block_gantt.draw(blocks_frame(), nodes, pipelines, provenance="measured").axes[0]
    assert [len(line.get_xdata()) for line in panel.lines if line.get_gid() == "switches"] == [0]
    ends = [end for _, end in bar_spans(panel, style.KIND_COLORS["pipeline"])]
    assert ends == pytest.approx([1.12 * NUM_BLOCKS * TICK_S] * 2)


def test_the_area_under_the_throughput_is_the_number_of_tokens() -> None:
    tokens = tokens_frame()
    sheet = throughput.draw(tokens, provenance="emulated", bin_s=0.3)
    for panel, run in zip(sheet.axes, RUNS, strict=True):
        for patch in panel.patches:
            values, edges, baseline = patch.get_data()
            area = float(((values - baseline) * np.diff(edges)).sum())
            mine = (tokens["run"] == run) & (tokens["kind"] == patch.get_label())
            assert area == pytest.approx(mine.sum())
    assert len({panel.get_ylim() for panel in sheet.axes}) == 1


def test_throughput_bins_are_round_numbers() -> None:
    assert np.diff(throughput.bin_edges(9.0, None))[0] == pytest.approx(0.2)
    assert np.diff(throughput.bin_edges(60.0, None))[0] == pytest.approx(1.0)
    with pytest.raises(ConfigError, match="bin_s is 0"):
        throughput.bin_edges(1.0, 0)


def test_a_request_without_a_first_token_keeps_the_curve_below_one() -> None:
    requests = pd.DataFrame({"run": "r", "ttft_s": [0.5, 1.5, 1.0, np.nan]})
    panel = first_token.draw(requests, provenance="measured").axes[0]
    (curve,) = panel.lines
    assert list(curve.get_xdata()) == [0, 0.5, 1.0, 1.5]
    assert list(curve.get_ydata()) == [0, 0.25, 0.5, 0.75]
    assert curve.get_label() == "r: 1.00 s · never"


def test_latency_curves_keep_measured_and_simulated_apart() -> None:
    panel = multicast_latency.draw(latency_frame()).axes[0]
    names = panel.get_legend_handles_labels()[1]
    assert names == [
        "one copy at link rate",
        "binomial pipeline (emulated)",
        "binomial pipeline (simulated)",
        "star (emulated)",
        "star (simulated)",
    ]
    emulated, simulated = (bars.lines[0] for bars in panel.containers[:2])
    assert (emulated.get_linestyle(), simulated.get_linestyle()) == ("-", "--")
    assert list(simulated.get_xdata()) == [2, 3, 4, 6, 8]
    assert list(emulated.get_ydata()) == pytest.approx([4.2, 4.4625, 4.4625])


def test_the_timeline_has_a_labelled_bar_for_every_phase() -> None:
    phases = phases_frame()
    sheet = timeline.draw(phases, provenance="measured")
    for panel, run in zip(sheet.axes, RUNS, strict=True):
        mine = phases[phases["run"] == run]
        (bars,) = [bars for bars in panel.containers if isinstance(bars, BarContainer)]
        assert [bar.get_x() for bar in bars] == pytest.approx(list(mine["start_s"]))
        assert [bar.get_width() for bar in bars] == pytest.approx(list(mine["seconds"]))
        assert [tick.get_text() for tick in panel.get_yticklabels()] == list(mine["phase"])


def test_frames_that_cannot_be_drawn_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="tokens has no column kind"):
        throughput.draw(tokens_frame().drop(columns="kind"), provenance="measured")
    with pytest.raises(ConfigError, match="requests has no rows"):
        first_token.draw(requests_frame().iloc[:0], provenance="measured")
    with pytest.raises(ConfigError, match="provenance is 'real'; use one of measured"):
        timeline.draw(phases_frame(), provenance="real")
