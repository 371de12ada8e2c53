"""Where a profile stands: what is complete by this code is told apart from what is yet to be run."""

from pathlib import Path

from lambdascale.experiments.jobs import tasks_of
from lambdascale.experiments.manifest import write_manifest
from lambdascale.experiments.standing import TARGETS, standing


def test_what_was_not_run_is_named_with_its_cost(tmp_path: Path) -> None:
    first, *others = tasks_of("quick", out=tmp_path)
    num = len(others) + 1
    assert f"`make kick-the-tires`: 0 of {num} notebooks" in standing(runs=tmp_path)
    first.folder.mkdir()
    write_manifest(first.folder, {})
    text = standing(runs=tmp_path)
    assert f"1 of {num} notebooks" in text
    assert first.name not in text
    assert others[0].name in text
    assert "(about " in text


def test_a_profile_that_is_complete_says_so(tmp_path: Path) -> None:
    tasks = tasks_of("paper", out=tmp_path)
    for task in tasks:
        task.folder.mkdir(parents=True)
        write_manifest(task.folder, {})
    text = standing("paper", tmp_path)
    assert text.startswith(f"`{TARGETS['paper']}`: all {len(tasks)} notebooks are complete")
