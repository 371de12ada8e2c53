"""`python -m lambdascale.experiments.reproduce`: run the notebooks of some profiles, then judge every claim.

Each notebook has a folder with its executed copy, figures, CSVs, metrics, one folder per run, and a manifest,
which is written last. What is complete is not run again; an interrupt leaves it usable, and a notebook that
stops does not stop the others. The exit code is 1 if an answer was wrong or a notebook stopped. A time that
was missed is printed, and may be the fault of the machine.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lambdascale.claims import table
from lambdascale.claims.book import book
from lambdascale.claims.verdict import Judgement
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments import found
from lambdascale.experiments.execution import parameters_of
from lambdascale.experiments.jobs import (
    NOTEBOOKS,
    PROFILES,
    RUNS,
    Task,
    announcement,
    check_parameters,
    tasks_of,
    to_do,
)
from lambdascale.experiments.parallel import run_all


def reproduce(
    profiles: Sequence[str], notebooks: Path, out: Path, num_workers: int, cluster: str = ""
) -> int:
    """Run what is not complete yet; print the claims; return the exit code."""
    if "cluster" in profiles and not cluster:
        raise ConfigError("profile cluster needs a cluster; give CLUSTER=FILE or --cluster FILE")
    tasks = [task for profile in profiles for task in tasks_of(profile, notebooks, out, cluster)]
    for task in tasks:
        check_parameters(task.job, parameters_of(task.notebook))
    todo = to_do(tasks)
    print(announcement(todo, len({task.folder for task in tasks}), num_workers), flush=True)
    failed = run_all(todo, num_workers)
    judgements = _judged(tasks, profiles)
    print(*_summary(tasks, failed, judgements), sep="\n")
    return 1 if failed or any(judgement.is_wrong for judgement in judgements) else 0


def _judged(tasks: Sequence[Task], profiles: Sequence[str]) -> list[Judgement]:
    """By what was run here; of the profiles that were asked for, the last one first."""
    return found.judge_all(book(), list(found.of_tasks(reversed(tasks))), profiles)


def _summary(
    tasks: Sequence[Task], failed: Sequence[Task], judgements: Sequence[Judgement]
) -> list[str]:
    folders = dict.fromkeys(task.folder for task in tasks if task.is_complete)
    lines = ["", table.verdicts(judgements), "", "figures, tables and executed notebooks:"]
    lines += [f"  {folder}" for folder in folders]
    return lines + [f"FAILED: {task.name}, see {task.folder}" for task in failed]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="run the notebooks, then judge every claim")
    known = ", ".join(PROFILES)
    parser.add_argument(
        "--profile", action="append", help=f"of {known}; may be given twice (default quick)"
    )
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="folder of the notebooks")
    parser.add_argument("--out", type=Path, default=RUNS, help="folder of results")
    parser.add_argument("--cluster", type=Path, help="file of the cluster of the profile cluster")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--workers", type=int, default=cores, help=f"simulated ones at a time (default {cores})"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return reproduce(
            options.profile or ["quick"],
            options.notebooks,
            options.out,
            max(1, options.workers),
            str(options.cluster.resolve()) if options.cluster else "",
        )
    except LambdaScaleError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nreproduce: interrupted; what is complete is kept, and is not run again")
        return 130


if __name__ == "__main__":
    sys.exit(main())
