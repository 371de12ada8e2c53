"""Where a profile stands on this machine: which of its notebooks are complete, and what is yet to be done."""

from pathlib import Path

from lambdascale.experiments.jobs import NOTEBOOKS, RUNS, duration, expected_s, tasks_of, to_do

TARGETS = {"quick": "make kick-the-tires", "paper": "make reproduce PROFILE=paper"}


def standing(
    profile: str = "quick", runs: str | Path = "", notebooks: Path = NOTEBOOKS, num_workers: int = 1
) -> str:
    """Say it in a sentence. Results are those of this code and these notebooks; ConfigError if there is no
    such profile. `runs` is the folder of results; an empty text is that of the checkout."""
    tasks = tasks_of(profile, notebooks, Path(runs) if runs else RUNS)
    todo = to_do(tasks)
    target, done = TARGETS[profile], len(tasks) - len(todo)
    if not todo:
        return f"`{target}`: all {done} notebooks are complete on this machine, by this code."
    names = ", ".join(task.name for task in todo)
    cost = duration(expected_s(todo, num_workers))
    return (
        f"`{target}`: {done} of {len(tasks)} notebooks are complete on this machine, by this code. It is yet "
        f"to run {names} (about {cost}); until then the table has what is committed."
    )
