"""`python -m lambdascale.experiments.reference`: commit the small results of a completed profile.

    results/reference/paper/11_schedules/   metrics.json, tables as CSV, manifest.json (hardware, date)
                                  figures/  each figure's frames as CSV, how it is drawn, and its PNG

CSVs and metrics of simulated notebooks hold nothing of this machine: a second run writes the same bytes, and
then everything is left as it is. `--check` only says whether it would.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lambdascale.claims.metric import METRICS
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.found import REFERENCE
from lambdascale.experiments.jobs import NOTEBOOKS, PROFILES, RUNS, Task, tasks_of
from lambdascale.experiments.manifest import MANIFEST

MAX_BYTES = 1_000_000  # of a file that is committed
KEPT = ("*.csv", METRICS, MANIFEST, "figures/*.csv", "figures/*.json", "figures/*.png")
LASTING = (".csv", METRICS)  # what does not change with the machine


def differing(task: Task, root: Path) -> list[str]:
    """Return the names of the CSVs and metrics of a task that are not those below `root`; the same: none."""
    new, old = lasting(task.folder), lasting(root / task.name)
    return sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))


def lasting(folder: Path) -> dict[str, bytes]:
    """Return the CSVs and metrics of a folder, by name."""
    paths = {name: path for name, path in _kept(folder).items() if name.endswith(LASTING)}
    return {name: path.read_bytes() for name, path in paths.items()}


def commit(task: Task, root: Path) -> None:
    """Replace the results of a task below `root`; ConfigError if one of them is too large to commit."""
    paths = _kept(task.folder)
    for name, path in paths.items():
        if path.stat().st_size > MAX_BYTES:
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            raise ConfigError(
                f"{task.name}: {name} has {size}, and {MAX_BYTES / 1e6:g} MB may be committed; "
                "give draw and table a smaller frame"
            )
    folder = root / task.name
    shutil.rmtree(folder, ignore_errors=True)
    for name, path in paths.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def update(tasks: Iterable[Task], root: Path, check: bool) -> list[str]:
    """Commit every task whose results differ (or with `check` none); return the differing names."""
    found = []
    for task in tasks:
        if not task.is_complete:
            raise ConfigError(f"{task.name} is not complete; run it first: make reproduce")
        names = differing(task, root)
        print(f"{task.name}: {', '.join(names) or 'the same'}", flush=True)
        if names and not check:
            commit(task, root)
        found += [f"{task.name}/{name}" for name in names]
    return found


def _kept(folder: Path) -> dict[str, Path]:
    paths = [path for pattern in KEPT for path in sorted(folder.glob(pattern))]
    return {path.relative_to(folder).as_posix(): path for path in paths}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(description="commit the small results of a completed profile")
    parser.add_argument("--profile", default="paper", help=f"of {', '.join(PROFILES)}")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help="folder of the notebooks")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of results")
    parser.add_argument("--out", type=Path, default=REFERENCE, help="folder that is committed")
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    options = parser.parse_args(arguments)
    try:
        tasks = tasks_of(options.profile, options.notebooks, options.runs)
        names = update(tasks, options.out / options.profile, options.check)
    except LambdaScaleError as error:
        print(f"reference: {error}", file=sys.stderr)
        return 2
    return 1 if names and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
