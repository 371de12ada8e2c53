"""What is committed of a run can be drawn again, does not change on a second run, and fills the README."""

from pathlib import Path

import pandas as pd
import pytest

from lambdascale.claims.book import ROOT, book
from lambdascale.claims.metric import metric
from lambdascale.claims.verdict import judge
from lambdascale.errors import ConfigError
from lambdascale.experiments import found, readme, redraw, reference
from lambdascale.experiments.jobs import Job, Task
from lambdascale.experiments.manifest import MANIFEST, write_manifest
from lambdascale.experiments.report import Report
from lambdascale.figures import claims_overview, first_token


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A complete task with a figure, a table and a metric."""
    job = Job("paper/fig09_ttft", 1)
    task = Task("paper", job, tmp_path / "n.ipynb", tmp_path / "runs" / "paper" / "fig09-0123")
    fill(task, 1 / 3)
    return task


def fill(task: Task, ttft_s: float) -> None:
    out = Report(str(task.folder))
    requests = pd.DataFrame({"run": ["a", "a"], "ttft_s": [ttft_s, 2.0]})
    out.draw("fig09", first_token, requests, provenance="simulated")
    out.table("summary", requests)
    out.metric("fig09.13b.rps3.lambdascale_paper_last_s", 1.0, "simulated")
    write_manifest(task.folder, {"notebook": task.name})


def test_a_second_run_changes_nothing_and_another_result_is_named(
    task: Task, tmp_path: Path, capsys
):
    root = tmp_path / "reference" / "paper"
    first = [
        "paper/fig09_ttft/" + name for name in ("figures/fig09.csv", "metrics.json", "summary.csv")
    ]
    assert reference.update([task], root, check=True) == first
    assert not root.exists()
    assert reference.update([task], root, check=False) == first
    written = (root / task.name / MANIFEST).read_bytes()
    fill(task, 1 / 3)
    (task.folder / "log.txt").write_text("not committed")
    assert reference.update([task], root, check=False) == []
    assert (root / task.name / MANIFEST).read_bytes() == written
    assert "paper/fig09_ttft: the same" in capsys.readouterr().out
    fill(task, 0.5)
    (task.folder / "summary.csv").unlink()
    assert reference.update([task], root, check=False) == [first[0], first[2]]
    assert not (root / task.name / "summary.csv").exists()
    names = {path.name for path in (root / task.name).rglob("*") if path.is_file()}
    assert names == {"fig09.csv", "fig09.json", "fig09.png", "metrics.json", MANIFEST}


def test_what_is_incomplete_or_too_large_is_not_committed(task: Task, tmp_path: Path, monkeypatch):
    root = tmp_path / "reference"
    monkeypatch.setattr(reference, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="give draw and table a smaller frame"):
        reference.update([task], root, check=False)
    assert not root.exists()
    (task.folder / MANIFEST).unlink()
    with pytest.raises(ConfigError, match="fig09_ttft is not complete"):
        reference.update([task], root, check=True)


def test_figures_are_drawn_again_from_what_is_committed(task: Task, tmp_path: Path, capsys):
    root = tmp_path / "reference" / "paper"
    reference.update([task], root, check=False)
    out = tmp_path / "figures"
    assert redraw.main(["--source", str(root), "--out", str(out)]) == 0
    again = out / "paper" / "fig09_ttft" / "fig09.png"
    assert again.read_bytes() == (task.folder / "figures" / "fig09.png").read_bytes()
    assert "1 figures, each as PNG and PDF" in capsys.readouterr().out
    assert redraw.main(["--source", str(tmp_path / "none")]) == 2
    assert "keeps no figures" in capsys.readouterr().err


def test_every_committed_file_can_be_drawn_or_read_and_is_small():
    for path in (ROOT / "results" / "reference").rglob("*.*"):
        assert path.stat().st_size <= reference.MAX_BYTES, path
    for _, profile, _, metrics in found.of_reference():
        assert metrics or profile, "read"


def test_pages_have_the_tables_of_the_claims_the_results_and_the_profiles(tmp_path: Path):
    assert readme.main(["--check"]) == 0, "run: make readme"
    for page, name in readme.PAGES.items():
        path = tmp_path / page
        path.parent.mkdir(parents=True, exist_ok=True)
        markers = readme.WRITTEN.format(name=name), readme.END.format(name=name)
        path.write_text(f"a\n{markers[0]}\nold\n{markers[1]}\nz\n", encoding="utf-8")
    root = ["--root", str(tmp_path)]
    assert readme.main(["--check", *root]) == 1
    assert readme.main(root) == 0
    assert readme.main(["--check", *root]) == 0
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("a\n")
    assert text.endswith("\nz\n")
    assert "| Figure 7 |" in text
    with pytest.raises(ConfigError, match="put both where the table belongs"):
        readme.updated("no markers", "claims")


def test_claims_stand_beside_the_papers_numbers_in_one_figure():
    values = {
        "fig07-faasnet-13b-8": metric(
            "fig07.13b.8.faasnet_over_lambdascale_paper", 1.82, "simulated"
        ),
        "fig10-ideal": metric("fig10.7b.lambdascale_paper_above_ideal", [0.1, 0.9], "simulated"),
        "fig11-p90": metric("fig11.7b.p90_over_lambdascale_paper", [9, 8, 7], "simulated"),
        "fig07-ours-over-wire": metric("fig07.13b.8.lambdascale_over_wire", 1.0, "simulated"),
    }
    judged = [judge(c, [values[c.id]] if c.id in values else []) for c in book().claims]
    frame = found.beside_paper(judged)
    assert list(frame["state"]) == ["in", "partly", "out"], (
        "what the paper does not know is left out"
    )
    assert frame["median"].iloc[0] == pytest.approx(1)
    sheet = claims_overview.draw(frame, provenance="simulated")
    (panel,) = sheet.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == list(frame["statement"])
