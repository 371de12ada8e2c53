"""The figure of predicted over measured shows every point once, and which of them count."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from lambdascale.errors import ConfigError
from lambdascale.figures import fidelity

ROWS = [
    ("multicast", 2.0, 2.02, 0, True),
    ("multicast", 2.2, 2.1, 0, False),
    ("TTFT", 1.0, 1.1, 0, False),
    ("TTFT", 4.0, 5.0, 3, False),
    ("TTFT", 3.0, 2.9, 1, True),
]


def frame() -> pd.DataFrame:
    columns = ["kind", "measured_s", "predicted_s", "overruns", "in_sample"]
    table = pd.DataFrame(ROWS, columns=columns)
    ratio = table["predicted_s"] / table["measured_s"]
    return table.assign(ratio=ratio, provenance="emulated, simulated")


def marks(panel, hollow: bool) -> dict[tuple[float, float], str]:
    """Each point with the colour of its rim, of those that are hollow or of those that are filled."""
    found = {}
    for group in panel.collections:
        if not hasattr(group, "get_offsets") or not len(group.get_edgecolor()):
            continue
        if (len(group.get_facecolor()) == 0) is hollow:
            at = [tuple(float(v) for v in xy) for xy in group.get_offsets()]
            found |= dict.fromkeys(at, to_hex(group.get_edgecolor()[0]))
    return found


def test_points_that_count_are_filled_and_overrun_ones_hollow() -> None:
    above = fidelity.draw(frame()).axes[0]
    filled, hollow = marks(above, hollow=False), marks(above, hollow=True)
    assert {(2.0, 2.02), (2.2, 2.1), (1.0, 1.1)} <= set(filled)
    assert set(hollow) == {(4.0, 5.0), (3.0, 2.9)}


def test_points_in_sample_are_grey_and_kinds_have_colours_of_their_own() -> None:
    above = fidelity.draw(frame()).axes[0]
    filled, hollow = marks(above, hollow=False), marks(above, hollow=True)
    grey = to_hex("0.6")
    assert filled[2.0, 2.02] == hollow[3.0, 2.9] == grey
    assert len({grey, filled[2.2, 2.1], filled[1.0, 1.1]}) == 3
    assert hollow[4.0, 5.0] == filled[1.0, 1.1]


def test_the_lower_panel_shows_the_error_and_the_stamp_both_provenances() -> None:
    sheet = fidelity.draw(frame())
    assert (2.2, pytest.approx(100 * (2.1 / 2.2 - 1))) in [*marks(sheet.axes[1], hollow=False)]
    (stamp,) = [text for text in sheet.texts if text.get_gid() == "provenance"]
    assert stamp.get_text() == "emulated + simulated"
    names = sheet.axes[0].get_legend_handles_labels()[1]
    assert names == ["± 10 %", "equal", "in sample", "multicast", "TTFT", "floor overrun"]


def test_a_frame_that_lacks_what_decides_is_refused() -> None:
    with pytest.raises(ConfigError, match="points has no column overruns"):
        fidelity.draw(frame().drop(columns="overruns"))
