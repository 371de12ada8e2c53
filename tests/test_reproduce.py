"""Reproduce: what to run is decided before anything runs, and what is complete is not run again."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lambdascale.claims import metric
from lambdascale.claims.book import Book
from lambdascale.claims.claim import Accepted, Claim
from lambdascale.experiments import bench, found, jobs, reproduce
from lambdascale.experiments.bench_engine import Batching
from lambdascale.experiments.bench_multicast import CONTESTANTS, Timing
from lambdascale.experiments.bench_storage import Moving
from lambdascale.experiments.execution import EXECUTED, NotebookError, execute, parameters_of
from lambdascale.experiments.jobs import Job, Task
from lambdascale.experiments.manifest import MANIFEST, is_current, read_manifest, write_manifest

CLAIM = """
from lambdascale.claims.metric import same_tokens
from lambdascale.experiments import report
out = report.Report(results)
ids = {0: (1, 2)}
out.metrics([same_tokens("tires.same_tokens", {0: (1, right)}, ids, "measured")])
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


def task(folder: Path, name: str, seconds: int = 1, measured: bool = False) -> Task:
    """A task whose notebook is not looked at."""
    job = Job(name, seconds, measured=measured)
    return Task("quick", job, folder / f"{name}.ipynb", folder / "out" / name)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a notebook of a claim about tokens; `quick` gets it right, `paper` wrong."""
    write_notebook(tmp_path, "00_kick_the_tires", 'right = 2\nresults = ""', CLAIM)
    monkeypatch.setitem(jobs.PROFILES, "quick", (Job("00_kick_the_tires", 1, measured=True),))
    monkeypatch.setitem(jobs.PROFILES, "wrong", (Job("00_kick_the_tires", 1, {"right": 3}),))
    return tmp_path


def arguments(profile: str, folder: Path) -> list[str]:
    out = str(folder / "out")
    return ["--profile", profile, "--notebooks", str(folder), "--out", out]


def test_a_notebook_runs_once_in_this_python_and_is_then_complete(tiny: Path, capfd):
    assert reproduce.main(arguments("quick", tiny)) == 0
    (folder,) = (tiny / "out").iterdir()
    stated = read_manifest(folder)
    assert (stated["notebook"], stated["profile"], stated["measured"]) == (
        *("00_kick_the_tires", "quick"),
        True,
    )
    executed = (folder / EXECUTED).read_text(encoding="utf-8")
    assert json.dumps(sys.executable)[1:-1] in executed
    shown = capfd.readouterr().out
    assert "running 00_kick_the_tires: about 1 s" in shown
    assert "[1 of 1] 00_kick_the_tires done in" in shown
    assert "1 of 1 requests identical" in shown
    assert "1 met" in shown
    written = (folder / EXECUTED).stat().st_mtime_ns
    assert reproduce.main(arguments("quick", tiny)) == 0
    assert "1 of 1 notebooks are complete; nothing to run" in capfd.readouterr().out
    assert (folder / EXECUTED).stat().st_mtime_ns == written


def test_a_notebook_that_stops_names_its_cell_and_stays_incomplete(tmp_path: Path):
    notebook = write_notebook(tmp_path, "stops", 'results = ""', "1 / 0")
    with pytest.raises(NotebookError, match="stops stopped at cell 3: ZeroDivisionError"):
        execute(Job("stops", 1), notebook, tmp_path / "out")
    assert (tmp_path / "out" / EXECUTED).is_file()
    assert not is_current(tmp_path / "out")


def test_wrong_tokens_make_the_exit_code_say_so(tiny: Path, capfd):
    (job,) = jobs.tasks_of("quick", tiny, tiny / "out")
    job.folder.mkdir(parents=True)
    metric.save([metric.same_tokens("tires.same_tokens", {}, {0: [1]}, "measured")], job.folder)
    write_manifest(job.folder, {})
    assert reproduce.main(arguments("quick", tiny)) == 1
    shown = capfd.readouterr().out
    assert "0 of 1 requests identical" in shown
    assert "tokens-scale-out: no reason is known yet" in shown


def test_a_misspelt_parameter_is_refused_before_anything_runs(tiny: Path, monkeypatch, capfd):
    monkeypatch.setitem(jobs.PROFILES, "misspelt", (Job("00_kick_the_tires", 1, {"rihgt": 3}),))
    assert reproduce.main(arguments("misspelt", tiny)) == 2
    assert "has no parameter 'rihgt'; it has results, right" in capfd.readouterr().err
    assert not (tiny / "out").exists()
    assert parameters_of(tiny / "00_kick_the_tires.ipynb") == {"right", "results"}


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
    assert jobs.folder_of(Job("a", 9, measured=True), path.read_bytes(), tmp_path) == before
    assert jobs.folder_of(Job("a", 1, {"x": 2}), path.read_bytes(), tmp_path) != before
    notebook.cells[1].source = "x + 1"
    nbformat.write(notebook, path)
    assert jobs.folder_of(job, path.read_bytes(), tmp_path) != before


def test_only_what_is_not_complete_is_to_do_and_its_cost_is_told(tmp_path: Path):
    tasks = [
        task(tmp_path, "a", 60),
        task(tmp_path, "b", 30, measured=True),
        task(tmp_path, "c", 90),
    ]
    tasks[0].folder.mkdir(parents=True)
    write_manifest(tasks[0].folder, {})
    todo = jobs.to_do([*tasks, tasks[2]])
    assert [one.name for one in todo] == ["b", "c"], "measured first, nothing twice"
    said = jobs.announcement(todo, 3, 2)
    assert said.startswith("running b, c (1 complete already): about 2 min, 2 at a time")
    (tasks[0].folder / MANIFEST).write_text(json.dumps({"code": "another"}))
    assert [one.name for one in jobs.to_do(tasks)] == ["b", "c", "a"], "the longest first"


def test_simulated_notebooks_share_the_cores_and_measured_ones_do_not(tmp_path: Path):
    tasks = [task(tmp_path, str(i), seconds) for i, seconds in enumerate((30, 20, 10))]
    assert jobs.expected_s(tasks, 2) == 30
    assert jobs.expected_s([*tasks, task(tmp_path, "m", 5, measured=True)], 2) == 35
    assert jobs.expected_s([], 2) == 0


def test_every_profile_is_made_of_notebooks_that_are_there():
    for profile in jobs.PROFILES:
        tasks = jobs.tasks_of(profile, cluster="cluster.yaml")
        assert len({one.name for one in tasks}) == len(tasks)


def test_the_profile_of_a_cluster_hands_its_file_to_every_notebook(capsys):
    assert reproduce.main(["--profile", "cluster"]) == 2
    assert "give CLUSTER=FILE" in capsys.readouterr().err
    given = [job.parameters["cluster"] for job in jobs.jobs_of("cluster", "here.yaml")]
    assert given == ["here.yaml"] * len(jobs.PROFILES["cluster"])


def test_results_of_this_machine_come_before_those_that_are_committed(tmp_path: Path):
    claim = Claim(
        *("c", "s", "Figure 7", "a", "fig07.x", Accepted(most=1), "r", "ours", "ratio"),
        profiles=("quick",),
    )
    here = ("a", "quick", found.HERE, (metric.metric("fig07.x", 1, "measured"),))
    committed = tmp_path / "quick" / "a"
    committed.mkdir(parents=True)
    metric.save([metric.metric("fig07.x", 2, "measured")], committed)
    reference = list(found.of_reference(tmp_path))
    stated = Book((claim,))
    assert found.judge_all(stated, [here, *reference])[0].verdict == "met"
    (only,) = found.judge_all(stated, reference)
    assert (only.verdict, only.origin, only.profile) == ("not", "reference", "quick")
    assert found.judge_all(stated, [])[0].verdict == "not run"
    assert found.judge_all(stated, reference, ["paper"]) == []
    elsewhere = ("b", "quick", found.HERE, here[3])
    assert found.judge_all(stated, [elsewhere])[0].verdict == "not run"


def test_bench_compares_medians_with_their_targets():
    timings = {name: Timing(0.1, 0.2, 1.0, 1.1) for name in ("copies", *CONTESTANTS)}
    timings["tcp"] = Timing(0.1, 0.24, 1.0, 4.1)
    metrics = bench.multicast_metrics(timings)
    assert [m.values[0] for m in metrics] == [1.1, 1.1, 4.1, 1.2]
    metrics.append(bench.batching_metric(Batching("bfloat16", 149, 100, 1, 1, 1)))
    metrics.append(bench.batching_metric(Batching("float32", 149, 100, 1, 1, 1)))
    metrics += bench.storage_metrics(Moving(1.1, 1.0, 1.3, 1.0))
    results = [("bench", "bench", found.HERE, tuple(metrics))]
    judgements = found.judge_all(found.book(), results, ["bench"])
    verdicts = [judgement.verdict for judgement in judgements]
    assert verdicts == ["met", "met", "not", "not", "met", "not run", "not", "not", "met"]
    assert not any(judgement.is_wrong for judgement in judgements), "slow is not wrong"
