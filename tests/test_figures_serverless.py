"""Figures of the serverless system draw what the frames say, each with units and its provenance."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lambdascale.cluster.records import SCALE_PHASES
from lambdascale.errors import ConfigError
from lambdascale.figures import (
    gpu_allocation,
    load_types,
    local_cache,
    residency_cdf,
    scale_out_phases,
    style,
)

RUNS = ("BurstGPT", "Azure code")
ORDERS = ("shifted", "in order")
NUM_BLOCKS = 16
BLOCK_S = 0.0625


def residency_frame() -> pd.DataFrame:
    """Twenty stays per run in host memory, of which two have not ended, and one on the SSD."""
    rng = np.random.default_rng(0)
    rows = [
        (run, "host", start, start + length)
        for run, mean in zip(RUNS, (8.0, 20.0), strict=True)
        for start, length in zip(rng.uniform(0, 500, 18), rng.exponential(mean, 18), strict=True)
    ]
    rows += [(RUNS[0], "host", 590.0, np.nan)] * 2 + [(RUNS[0], "ssd", 0.0, 600.0)]
    return pd.DataFrame(rows, columns=["run", "tier", "from_s", "until_s"])


def starts_frame() -> pd.DataFrame:
    kinds = {RUNS[0]: (3, 2, 0, 15), RUNS[1]: (8, 4, 4, 4)}
    rows = [
        (run, kind)
        for run, counts in kinds.items()
        for kind, count in zip(load_types.KINDS, counts, strict=True)
        for _ in range(count)
    ]
    return pd.DataFrame(rows, columns=["run", "start"])


def scale_outs_frame(num: int = 3) -> pd.DataFrame:
    """Scale-outs of different lengths; the first of each run lacks two phases."""
    rows = [
        (run, number, f"llama-2-{7 + 6 * (number % 2)}b", phase, 0.02 * (number + 1) * (1 + i % 4))
        for run in RUNS
        for number in range(num)
        for i, phase in enumerate(SCALE_PHASES[1:])
        if number or phase not in ("prepared", "connected")
    ]
    return pd.DataFrame(rows, columns=["run", "scale_out", "model", "phase", "seconds"])


def blocks_frame() -> pd.DataFrame:
    """Four nodes that each load all blocks, beginning at every fourth one or all at the first."""
    rows = [
        (order, node, (tick + shift * node) % NUM_BLOCKS, (tick + 1) * BLOCK_S)
        for order, shift in zip(ORDERS, (4, 0), strict=True)
        for node in range(4)
        for tick in range(NUM_BLOCKS)
    ]
    return pd.DataFrame(rows, columns=["run", "node", "block", "verified_s"])


def tokens_frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        (order, time_s)
        for order, start_s in zip(ORDERS, (0.3, 1.05), strict=True)
        for time_s in [*rng.uniform(start_s, 1.05, 40), *rng.uniform(1.05, 2.0, 400)]
        if time_s > start_s
    ]
    return pd.DataFrame(rows, columns=["run", "time_s"])


def allocations_frame() -> pd.DataFrame:
    spans = {"λScale": [(0, None), (60, 120), (60, 130), (61, 140)], "load-then-serve": [(0, None)]}
    spans["load-then-serve"] += [(60, 160), (60, 190), (61, 200), (62, 200)]
    rows = [(run, *span) for run, mine in spans.items() for span in mine]
    return pd.DataFrame(rows, columns=["run", "from_s", "until_s"]).astype({"until_s": float})


def requests_frame() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    arrivals = [*rng.uniform(0, 300, 60), *rng.uniform(60, 80, 200)]
    rows = [(run, time_s) for run in ("λScale", "load-then-serve") for time_s in arrivals]
    return pd.DataFrame(rows, columns=["run", "arrival_s"])


def cache() -> Figure:
    return local_cache.draw(blocks_frame(), tokens_frame(), provenance="emulated")


def allocation() -> Figure:
    return gpu_allocation.draw(allocations_frame(), requests_frame(), provenance="simulated")


DRAWN = {
    "residency_cdf": lambda: residency_cdf.draw(residency_frame(), provenance="simulated"),
    "load_types": lambda: load_types.draw(starts_frame(), provenance="simulated"),
    "scale_out_phases": lambda: scale_out_phases.draw(scale_outs_frame(), provenance="emulated"),
    "local_cache": cache,
    "gpu_allocation": allocation,
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_names_its_axes_and_its_provenance(name: str) -> None:
    sheet = DRAWN[name]()
    lowest = sheet.axes[-1].get_xlabel()
    assert lowest.endswith("(s)") or lowest == "share of starts"
    (stamp,) = [text for text in sheet.texts if text.get_gid() == "provenance"]
    assert stamp.get_text() in ("simulated", "emulated")


@pytest.mark.parametrize("name", DRAWN)
def test_saving_twice_writes_the_same_bytes(name: str, tmp_path) -> None:
    first = style.save(DRAWN[name](), tmp_path / "first" / name)
    second = style.save(DRAWN[name](), tmp_path / "second" / name)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000


def test_the_residency_curve_rises_at_every_stay_and_leaves_out_those_that_last() -> None:
    frame = residency_frame()
    (panel,) = DRAWN["residency_cdf"]().axes
    (mark,) = [line for line in panel.lines if line.get_gid() == "mark"]
    assert list(mark.get_xdata()) == [15.0, 15.0]
    curve = panel.lines[0]
    mine = frame[(frame["run"] == RUNS[0]) & (frame["tier"] == "host")].dropna()
    lengths = sorted(mine["until_s"] - mine["from_s"])
    assert list(curve.get_xdata()[1:]) == pytest.approx(lengths)
    assert curve.get_ydata()[-1] == 1
    within = np.mean(np.array(lengths) <= 15)
    label = f"BurstGPT: {within:.0%} of 18 within 15 s (2 not ended)"
    assert panel.get_legend().get_texts()[0].get_text() == label


def test_the_shares_of_starts_fill_the_bar() -> None:
    (panel,) = DRAWN["load_types"]().axes
    widths = np.array([[bar.get_width() for bar in bars] for bars in panel.containers])
    assert widths.sum(axis=0) == pytest.approx([1, 1])
    assert list(widths[:, 0]) == pytest.approx([0.15, 0.1, 0.0, 0.75])
    assert {"75%", "40%", "20%"} <= {text.get_text() for text in panel.texts}


def test_a_kind_of_start_that_never_happened_is_not_in_the_legend() -> None:
    frame = starts_frame().query("start != 'cold'")
    (panel,) = load_types.draw(frame, provenance="simulated").axes
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "hot: on the GPU already",
        "from host memory",
        "from SSD",
    ]


def test_the_phases_of_a_scale_out_stand_end_to_end_with_the_same_colour_everywhere() -> None:
    frame = scale_outs_frame()
    sheet = DRAWN["scale_out_phases"]()
    colors: dict[str, set[tuple[float, ...]]] = {}
    for panel, run in zip(sheet.axes, RUNS, strict=True):
        bars = [bar for bar in panel.patches if bar.get_gid() == "phase"]
        mine = frame[frame["run"] == run]
        assert [bar.get_width() for bar in bars] == pytest.approx(list(mine["seconds"]))
        for bar, phase in zip(bars, mine["phase"], strict=True):
            colors.setdefault(phase, set()).add(to_rgba(bar.get_facecolor()))
        totals = [text.get_text() for text in panel.texts if text.get_gid() == "total"]
        seconds = mine.groupby("scale_out")["seconds"].sum()
        assert totals == [f" {total:.2f} s" for total in seconds]
    assert all(len(found) == 1 for found in colors.values())
    assert len({min(found) for found in colors.values()}) == len(SCALE_PHASES) - 1


def test_scale_outs_are_named_by_how_their_nodes_started_if_that_is_given() -> None:
    rows = [(RUNS[0], 0, "cold"), (RUNS[0], 0, "cold"), (RUNS[0], 0, "warm"), (RUNS[1], 0, "hot")]
    starts = pd.DataFrame(rows, columns=["run", "scale_out", "start"])
    frame = scale_outs_frame(1)
    sheet = scale_out_phases.draw(frame, starts, provenance="emulated")
    names = [panel.get_yticklabels()[0].get_text() for panel in sheet.axes]
    assert names == ["scale-out 0  llama-2-7b: 2 cold, 1 warm", "scale-out 0  llama-2-7b: 1 hot"]


def test_of_many_scale_outs_the_longest_are_drawn_and_the_title_says_so() -> None:
    sheet = scale_out_phases.draw(scale_outs_frame(50), provenance="emulated", most=4)
    panel = sheet.axes[0]
    assert panel.get_title(loc="left") == "BurstGPT: the 4 longest of 50 scale-outs"
    names = [tick.get_text().split()[1] for tick in panel.get_yticklabels()]
    assert names == ["46", "47", "48", "49"]


def test_shifted_loads_cover_the_model_in_a_quarter_of_the_time() -> None:
    shares, counts = cache().axes
    labels = [text.get_text() for text in shares.get_legend().get_texts()]
    assert labels == ["shifted: at 0.25 s", "in order: at 1.00 s"]
    shifted, in_order = shares.lines
    assert list(in_order.get_xdata()[1:-1]) == pytest.approx(
        [BLOCK_S * (i + 1) for i in range(NUM_BLOCKS)]
    )
    assert shifted.get_ydata().max() == in_order.get_ydata().max() == 1
    tokens = tokens_frame()
    for curve, order in zip(counts.lines, ORDERS, strict=True):
        times = sorted(tokens.loc[tokens["run"] == order, "time_s"])
        assert list(curve.get_xdata()[1:-1]) == pytest.approx(times)
        assert curve.get_ydata().max() == len(times)


def test_the_nodes_assigned_follow_the_intervals_up_to_the_end() -> None:
    sheet = gpu_allocation.draw(
        allocations_frame(), requests_frame(), provenance="simulated", end_s=300.0
    )
    rate, nodes = sheet.axes
    curve = nodes.lines[0]
    steps = list(zip(curve.get_xdata(), curve.get_ydata(), strict=True))
    assert steps == [(0, 1), (60, 3), (61, 4), (120, 3), (130, 2), (140, 1), (300, 1)]
    labels = [text.get_text() for text in nodes.get_legend().get_texts()]
    assert labels == ["λScale: 509 GPU-s", "load-then-serve: 807 GPU-s"]
    of_four = gpu_allocation.draw(
        allocations_frame(), requests_frame(), provenance="simulated", end_s=300.0, gpus_per_node=4
    )
    found = [text.get_text() for text in of_four.axes[1].get_legend().get_texts()]
    assert found == ["λScale: 2,036 GPU-s", "load-then-serve: 3,228 GPU-s"]
    (stairs,) = [patch for patch in rate.patches if patch.get_gid() == "rate"]
    values, edges, _ = stairs.get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(260)


def test_nodes_can_be_told_apart_by_model() -> None:
    frame = allocations_frame().rename(columns={"run": "model"})
    sheet = gpu_allocation.draw(frame, requests_frame(), provenance="simulated", by="model")
    lower, upper = (area.get_paths()[0].vertices for area in sheet.axes[1].collections)
    assert lower[:, 1].max() == 5, "load-then-serve, by the alphabet"
    assert upper[:, 1].max() == 9, "λScale on top of it"


def test_frames_that_cannot_be_drawn_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="residency has no column tier"):
        residency_cdf.draw(residency_frame().drop(columns="tier"), provenance="simulated")
    with pytest.raises(ConfigError, match="no residency in tier gpu has ended"):
        residency_cdf.draw(residency_frame(), provenance="simulated", tier="gpu")
    with pytest.raises(ConfigError, match="start is 'tepid'; use one of hot, warm, cold, ssd"):
        load_types.draw(starts_frame().replace("hot", "tepid"), provenance="simulated")
    with pytest.raises(ConfigError, match="allocations has no rows"):
        gpu_allocation.draw(allocations_frame()[:0], requests_frame(), provenance="simulated")
