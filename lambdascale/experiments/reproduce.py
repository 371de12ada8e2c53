"""`python -m lambdascale.experiments.reproduce`: run the notebooks of a profile, then print a table.

Each notebook has a folder with its executed copy, figures, CSVs, one folder per run, and a manifest, which is
written last. What is complete is not run again; an interrupt leaves it usable. The table says what was
expected and what was obtained. The exit code is 1 if tokens were wrong or a notebook stopped; a time
that was missed is printed as `not`, since it may be the machine's fault.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments import claims
from lambdascale.experiments.execution import NotebookError, execute, parameters_of
from lambdascale.experiments.jobs import (
    PROFILES,
    Job,
    announcement,
    check_parameters,
    folder_of,
    jobs_of,
    to_do,
)
from lambdascale.experiments.manifest import is_current, write_manifest

NOTEBOOKS = Path("notebooks")
OUT = Path("results/runs")


def reproduce(profile: str, notebooks: Path, out: Path) -> int:
    """Run what is not complete yet; print the table; return the exit code."""
    jobs = jobs_of(profile)
    paths = {job.notebook: _notebook(notebooks, job) for job in jobs}
    for job in jobs:
        check_parameters(job, parameters_of(paths[job.notebook]))
    folders = {job.notebook: folder_of(job, paths[job.notebook].read_bytes(), out) for job in jobs}
    todo = to_do(jobs, folders)
    print(announcement(todo, len(jobs)), flush=True)
    failed = [job for job in todo if not _run(job, paths[job.notebook], folders[job.notebook])]
    found = _table(jobs, folders)
    return 1 if failed or claims.wrong(found) else 0


def _notebook(notebooks: Path, job: Job) -> Path:
    path = notebooks / f"{job.notebook}.ipynb"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the folder of the notebooks: --notebooks")
    return path


def _run(job: Job, notebook: Path, folder: Path) -> bool:
    """Run one job into its folder; tell whether it came to its end. Runs that are there are loaded."""
    print(f"\n{job.notebook} → {folder}", flush=True)
    started_s = time.monotonic()
    try:
        execute(job, notebook, folder)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return False
    seconds = round(time.monotonic() - started_s, 1)
    stated = {"notebook": job.notebook, "parameters": dict(job.parameters), "seconds": seconds}
    write_manifest(folder, stated)
    return True


def _table(jobs: Sequence[Job], folders: Mapping[str, Path]) -> list[claims.Claim]:
    """Print the claims of all complete notebooks, and where to look."""
    complete = [folders[job.notebook] for job in jobs if is_current(folders[job.notebook])]
    found = [claim for folder in complete for claim in claims.load(folder)]
    print(f"\n{claims.table(found)}\n\nfigures, tables and executed notebooks:")
    print(*(f"  {folder}" for folder in complete), sep="\n")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="run the notebooks: expected against obtained")
    known = ", ".join(PROFILES)
    parser.add_argument("--profile", default="quick", help=f"one of: {known} (default quick)")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help=f"default {NOTEBOOKS}")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of results (default {OUT})")
    options = parser.parse_args(arguments)
    try:
        return reproduce(options.profile, options.notebooks, options.out)
    except LambdaScaleError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nreproduce: interrupted; what is complete is kept, and is not run again")
        return 130


if __name__ == "__main__":
    sys.exit(main())
