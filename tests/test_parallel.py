"""Tasks run side by side or alone, one that fails stops no other, and an interrupt leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from lambdascale.experiments.execution import command
from lambdascale.experiments.jobs import Job, Task, to_do
from lambdascale.experiments.manifest import write_manifest
from lambdascale.experiments.parallel import LOG, run_all

pytestmark = pytest.mark.alone

SCRIPT = """
import sys, time
start = time.monotonic()
time.sleep({seconds})
open({file!r}, "w").write(f"{{start}} {{time.monotonic()}}")
if {fails}:
    sys.exit("it broke")
"""
INTERRUPTED = """
import sys
from pathlib import Path
from lambdascale.experiments.jobs import Job, Task
from lambdascale.experiments.parallel import run_all
script = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
task = Task("quick", Job("a", 1), Path("a"), Path("a-folder"))
try:
    run_all([task], 2, lambda task: [sys.executable, "-c", script])
except KeyboardInterrupt:
    sys.exit(130)
"""


def task(folder: Path, name: str, measured: bool = False) -> Task:
    return Task("quick", Job(name, 1, measured=measured), folder / name, folder / "out" / name)


def scripts(seconds: float = 0.3, fails: str = ""):
    """Make a command that notes when it started and ended."""

    def script(one: Task) -> list[str]:
        file = str(one.folder / "times")
        text = SCRIPT.format(seconds=seconds, file=file, fails=one.name == fails)
        return [sys.executable, "-c", text]

    return script


def times(one: Task) -> tuple[float, float]:
    start, end = map(float, (one.folder / "times").read_text().split())
    return start, end


def test_simulated_tasks_run_two_at_a_time_and_measured_ones_alone(tmp_path: Path, capsys):
    measured = task(tmp_path, "m", measured=True)
    tasks = [measured, *(task(tmp_path, name) for name in "abc")]
    assert run_all(tasks, 2, scripts(0.5)) == []
    a, b, c = (times(one) for one in tasks[1:])
    assert max(a[0], b[0]) < min(a[1], b[1])
    assert c[0] > min(a[1], b[1])
    assert min(a[0], b[0], c[0]) > times(measured)[1]
    shown = capsys.readouterr().out
    assert "[1 of 4] m done" in shown
    assert "about 2 s to go" in shown
    assert shown.rstrip().endswith("all are done")


def test_one_that_fails_does_not_stop_the_others_and_says_why(tmp_path: Path, capsys):
    tasks = [task(tmp_path, name) for name in "abc"]
    assert run_all(tasks, 2, scripts(0.0, fails="a")) == [tasks[0]]
    assert all((one.folder / "times").is_file() for one in tasks)
    log = tasks[0].folder / LOG
    assert f"a FAILED: it broke (log: {log})" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process(tmp_path: Path, number: signal.Signals):
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], cwd=tmp_path)
    pid = tmp_path / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_an_interrupted_notebook_leaves_no_kernel(tmp_path: Path):
    notebook = tmp_path / "sleeps.ipynb"
    cell = new_code_cell(
        "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    kernel = {"name": "nowhere", "display_name": "x", "language": "python"}
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), notebook)
    one = Task("quick", Job("sleeps", 1), notebook, tmp_path / "out")
    one.folder.mkdir()
    with (tmp_path / LOG).open("wb") as log:
        process = subprocess.Popen(command(one), stdout=log, stderr=log)
    pid = one.folder / "pid"
    while not (pid.is_file() and pid.read_text()):
        assert process.poll() is None, (tmp_path / LOG).read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not one.is_complete


def test_what_was_interrupted_is_to_do_again_and_what_is_complete_is_not(tmp_path: Path):
    done, broken = task(tmp_path, "done"), task(tmp_path, "broken")
    for one in (done, broken):
        one.folder.mkdir(parents=True)
    write_manifest(done.folder, {})
    assert to_do([done, broken]) == [broken]
