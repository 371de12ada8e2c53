"""`python -m lambdascale.experiments.readme`: write the tables of README.md and of artifact/profiles.

They are made of `artifact/claims.yaml`, the committed reference results and the profiles alone: they are the
same everywhere.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lambdascale.claims import table
from lambdascale.claims.book import ROOT, book
from lambdascale.errors import ConfigError
from lambdascale.experiments import found
from lambdascale.experiments.jobs import PROFILES, Job, duration, expected_s, tasks_of

PAGES = {"README.md": "claims", "artifact/profiles/README.md": "profiles"}
WRITTEN = "<!-- {name}: written by make readme -->"
END = "<!-- {name}: end -->"
CORES = 2  # that the times of jobs are for


def updated(text: str, name: str) -> str:
    """Return a page with the table of today between its markers; ConfigError if it has none."""
    written, end = WRITTEN.format(name=name), END.format(name=name)
    before, begin, rest = text.partition(written)
    _, finish, after = rest.partition(end)
    if not begin or not finish:
        raise ConfigError(f"there is no {written} … {end}; put both where the table belongs")
    return f"{before}{written}\n{_TABLES[name]()}\n{end}{after}"


def claims_table() -> str:
    """Return what the committed results make of the claims, a row per figure."""
    return table.markdown(found.judge_all(book(), list(found.of_reference())))


def profiles_tables() -> str:
    """Return what each profile runs, with times and parameters."""
    return "\n".join(line for profile in PROFILES for line in _profile(profile))


def _profile(profile: str) -> Iterator[str]:
    tasks = tasks_of(profile)
    yield f"## {profile}: about {duration(expected_s(tasks, CORES))}\n"
    yield "| notebook | time | | parameters that differ from its defaults |\n|---|---|---|---|"
    yield from (_row(task.job) for task in tasks)
    yield ""


def _row(job: Job) -> str:
    kind = "measured, alone" if job.measured else "simulated"
    parameters = ", ".join(f"`{name} = {value!r}`" for name, value in job.parameters.items())
    return f"| `{job.notebook}` | {duration(job.seconds)} | {kind} | {parameters} |"


_TABLES = {"claims": claims_table, "profiles": profiles_tables}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 1 if `--check` finds another table."""
    parser = argparse.ArgumentParser(description="write the tables of the pages")
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md")
    options = parser.parse_args(arguments)
    stale = False
    for page, name in PAGES.items():
        path = options.root / page
        text = path.read_text(encoding="utf-8")
        new = updated(text, name)
        stale |= new != text
        if not options.check:
            path.write_text(new, encoding="utf-8")
    return int(options.check and stale)


if __name__ == "__main__":
    sys.exit(main())
