"""Reproduce: what to run is decided before anything runs, and what is complete is not run again."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lambdascale.experiments import bench, claims, jobs, reproduce
from lambdascale.experiments.bench_engine import Batching
from lambdascale.experiments.bench_multicast import CONTESTANTS, Timing
from lambdascale.experiments.bench_storage import Moving
from lambdascale.experiments.execution import EXECUTED, NotebookError, execute, parameters_of
from lambdascale.experiments.jobs import Job
from lambdascale.experiments.manifest import MANIFEST, is_current, read_manifest, write_manifest

CLAIM = """
from lambdascale.experiments import claims, report
out = report.Report(results)
ids = {0: (1, 2)}
out.claims([claims.same_tokens("tokens", {0: (1, right)}, ids, "measured")])
import sys
print(sys.executable)
"""


def write_notebook(folder: Path, name: str, *sources: str) -> Path:
    """A notebook of these cells; the first holds the parameters."""
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    metadata = {
        "kernelspec": {"name": "nowhere", "display_name": "x", "language": "python"},
        "language_info": {"name": "python"},
    }
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a notebook of one claim, which the profile `tiny` gets right and `wrong` wrong."""
    write_notebook(tmp_path, "claim", 'right = 2\nresults = ""', CLAIM)
    monkeypatch.setitem(jobs.PROFILES, "tiny", (Job("claim", 1),))
    monkeypatch.setitem(jobs.PROFILES, "wrong", (Job("claim", 1, {"right": 3}),))
    return tmp_path


def arguments(profile: str, folder: Path) -> list[str]:
    out = str(folder / "out")
    return ["--profile", profile, "--notebooks", str(folder), "--out", out]


def test_a_notebook_runs_once_in_this_python_and_is_then_complete(tiny: Path, capfd):
    assert reproduce.main(arguments("tiny", tiny)) == 0
    (folder,) = (tiny / "out").iterdir()
    assert read_manifest(folder)["notebook"] == "claim"
    executed = (folder / EXECUTED).read_text(encoding="utf-8")
    import sys

    assert json.dumps(sys.executable)[1:-1] in executed
    shown = capfd.readouterr().out
    assert "running claim" in shown
    assert "1 of 1 requests identical" in shown
    written = (folder / EXECUTED).stat().st_mtime_ns
    assert reproduce.main(arguments("tiny", tiny)) == 0
    assert "1 of 1 notebooks are complete; nothing to run" in capfd.readouterr().out
    assert (folder / EXECUTED).stat().st_mtime_ns == written


def test_wrong_tokens_make_the_exit_code_say_so(tiny: Path, capfd):
    assert reproduce.main(arguments("wrong", tiny)) == 1
    assert "0 of 1 requests identical" in capfd.readouterr().out


def test_a_notebook_that_stops_names_its_cell_and_stays_incomplete(tmp_path: Path):
    notebook = write_notebook(tmp_path, "stops", 'results = ""', "1 / 0")
    with pytest.raises(NotebookError, match="stops stopped at cell 3: ZeroDivisionError"):
        execute(Job("stops", 1), notebook, tmp_path / "out")
    assert (tmp_path / "out" / EXECUTED).is_file()
    assert not is_current(tmp_path / "out")


def test_a_misspelt_parameter_is_refused_before_anything_runs(tiny: Path, monkeypatch, capfd):
    monkeypatch.setitem(jobs.PROFILES, "misspelt", (Job("claim", 1, {"rihgt": 3}),))
    assert reproduce.main(arguments("misspelt", tiny)) == 2
    assert "claim has no parameter 'rihgt'; it has results, right" in capfd.readouterr().err
    assert not (tiny / "out").exists()
    assert parameters_of(tiny / "claim.ipynb") == {"right", "results"}


def test_unknown_profiles_and_missing_notebooks_get_one_line(tmp_path: Path, capfd):
    assert reproduce.main(arguments("huge", tmp_path)) == 2
    assert "profile 'huge' is unknown; use one of quick" in capfd.readouterr().err
    assert reproduce.main(arguments("quick", tmp_path)) == 2
    assert "00_kick_the_tires.ipynb does not exist" in capfd.readouterr().err


def test_the_folder_depends_on_cells_and_parameters_and_not_on_outputs(tmp_path: Path):
    path = write_notebook(tmp_path, "a", "x = 1", "x")
    job = Job("a", 1)
    before = jobs.folder_of(job, path.read_bytes(), tmp_path)
    notebook = nbformat.read(path, 4)
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, path)
    assert jobs.folder_of(job, path.read_bytes(), tmp_path) == before
    assert jobs.folder_of(Job("a", 9), path.read_bytes(), tmp_path) == before
    assert jobs.folder_of(Job("a", 1, {"x": 2}), path.read_bytes(), tmp_path) != before
    notebook.cells[1].source = "x + 1"
    nbformat.write(notebook, path)
    assert jobs.folder_of(job, path.read_bytes(), tmp_path) != before


def test_only_what_is_not_complete_is_to_do_and_its_cost_is_told(tmp_path: Path):
    four = jobs.jobs_of("quick")
    folders = {job.notebook: tmp_path / job.notebook for job in four}
    folders[four[0].notebook].mkdir()
    write_manifest(folders[four[0].notebook], {})
    todo = jobs.to_do(four, folders)
    assert todo == list(four[1:])
    said = jobs.announcement(todo, len(four))
    assert "10_multicast_latency, 11_schedules, 20_execute_while_load (1 complete already)" in said
    assert "about 2 minutes" in said
    stale = folders[four[0].notebook] / MANIFEST
    stale.write_text(json.dumps({"code": "another"}))
    assert jobs.to_do(four, folders) == list(four)


def test_bench_compares_medians_with_their_targets():
    timings = {name: Timing(0.1, 0.2, 1.0, 1.1) for name in ("copies", *CONTESTANTS)}
    timings["tcp"] = Timing(0.1, 0.24, 1.0, 4.1)
    found = bench.multicast_claims(timings)
    assert [claim.holds for claim in found] == [True, True, False, False]
    assert [claim.obtained for claim in found] == ["1.10", "1.10", "4.10", "1.20"]
    slow = bench.batching_claim(Batching("bfloat16", 149, 100, 1, 1, 1))
    assert (slow.expected, slow.holds) == ("≥ 1.50", False)
    assert bench.batching_claim(Batching("float32", 149, 100, 1, 1, 1)).holds
    stored = bench.storage_claims(Moving(1.1, 1.0, 1.3, 1.0))
    assert [(claim.expected, claim.holds) for claim in stored] == [
        ("≤ 1.20", True),
        ("≤ 1.20", False),
    ]
    assert "readinto" in claims.table([*found, *stored])
    assert not claims.wrong([*found, *stored]), "a slow machine is no wrong answer"
