"""A report keeps what it is shown, and a figure is drawn again from what was kept to the last byte."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lambdascale.claims import metric as metrics
from lambdascale.errors import ConfigError
from lambdascale.experiments.report import Report
from lambdascale.figures import first_token, gpu_allocation, kept, style

REQUESTS = pd.DataFrame(
    {
        "run": ["NA", "NA", "1"],  # texts that are read as such, not as a missing one or a number
        "ttft_s": [1 / 3, np.nan, 2.0],
        "arrival_s": [0.0, 1.0, 2.0],
    }
)
ALLOCATIONS = pd.DataFrame(
    {"run": ["NA", "1"], "from_s": [0.0, 0.5], "until_s": [3.0, np.nan], "node": [0, 1]}
)


def test_a_figure_is_drawn_again_from_its_frames_without_a_run(tmp_path: Path):
    out = Report(str(tmp_path))
    out.draw("ttft", first_token, REQUESTS, provenance="simulated")
    out.draw("gpus", gpu_allocation, ALLOCATIONS, REQUESTS, provenance="simulated", by="run")
    notes = list(kept.kept_in(tmp_path))
    assert [note.stem for note in notes] == ["gpus", "ttft"]
    for note in notes:
        kept.redraw(note, tmp_path / "again")
        again = (tmp_path / "again" / f"{note.stem}.png").read_bytes()
        assert again == note.with_suffix(".png").read_bytes()
    files = {path.name for path in (tmp_path / "figures").glob("*.csv")}
    assert files == {"ttft.csv", "gpus.allocations.csv", "gpus.requests.csv"}
    assert json.loads(notes[0].read_text("utf-8"))["style"] == {
        "provenance": "simulated",
        "by": "run",
    }


def test_frames_come_back_as_they_were(tmp_path: Path):
    frame = REQUESTS.assign(ok=[True, False, True], n=[1, 2, 3], text=["", "b", "c"])
    kept.keep(tmp_path, "ttft", first_token, (frame,), provenance="simulated")
    note = json.loads((tmp_path / "ttft.json").read_text("utf-8"))
    back = kept.read_csv(tmp_path / "ttft.csv", note["frames"]["ttft.csv"])
    pd.testing.assert_frame_equal(back, frame, rtol=1e-8, check_dtype=False)
    assert "0.333333333," in (tmp_path / "ttft.csv").read_text("utf-8")


def test_in_jupyterlab_a_figure_is_shown_and_nothing_is_written(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = Report()
    assert style.png(out.draw("ttft", first_token, REQUESTS, provenance="simulated"))
    out.table("t", REQUESTS)
    out.metric("fig07.a", 1, "simulated")
    assert not list(tmp_path.iterdir())


def test_a_drawing_that_could_not_be_repeated_is_refused(tmp_path: Path):
    out = Report(str(tmp_path))
    with pytest.raises(ConfigError, match="no tuples"):
        out.draw("ttft", first_token, REQUESTS, provenance="simulated", order=("a", "b"))
    with pytest.raises(ConfigError, match="json is no module"):
        out.draw("ttft", json, REQUESTS, provenance="simulated")
    out.draw("ttft", first_token, REQUESTS, provenance="simulated")
    (tmp_path / "figures/ttft.csv").unlink()
    with pytest.raises(ConfigError, match="is missing; run the notebook"):
        kept.redraw(tmp_path / "figures/ttft.json", tmp_path)


def test_metrics_are_kept_by_name_and_shown_beside_their_claims(tmp_path: Path, capsys):
    out = Report(str(tmp_path))
    out.metric("fig07.13b.8.faasnet_over_lambdascale_paper", [1.8, 1.9], "simulated")
    out.metrics([metrics.metric("fig07.b", 1, "simulated", "one"), *metrics.load(tmp_path)])
    out.metric("fig07.b", 2, "simulated")
    assert [m.values for m in metrics.load(tmp_path)] == [(1.8, 1.9), (2.0,)]
    shown = capsys.readouterr().out
    assert "= 1.8 to 1.9 (simulated; paper 1.82, accepted 1.64 to 2" in shown
    assert "one         simulated" in shown
