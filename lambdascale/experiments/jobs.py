"""Which notebooks a profile runs, with which parameters, what they cost, and where their results lie.

Pure values and decisions; `reproduce` acts on them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.experiments.manifest import code_digest, is_current

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Job:
    """One notebook; `parameters` replace its defaults, `seconds` is what it took on two cores."""

    notebook: str
    seconds: int
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


PROFILES = {
    "quick": (
        Job("00_kick_the_tires", seconds=25),
        Job("10_multicast_latency", seconds=35),
        Job("11_schedules", seconds=5),
        Job("20_execute_while_load", seconds=75),
        Job("30_model_management", seconds=35),
        Job("31_local_cache", seconds=65),
    ),
}


def jobs_of(profile: str) -> tuple[Job, ...]:
    """Return the jobs of a profile; ConfigError if there is none of that name."""
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r} is unknown; use one of {', '.join(PROFILES)}")
    return PROFILES[profile]


def check_parameters(job: Job, known: Iterable[str]) -> None:
    """Raise ConfigError if the notebook has no parameter of some name: papermill would not notice."""
    known = sorted(known)
    for name in job.parameters:
        if name not in known:
            raise ConfigError(
                f"notebook {job.notebook} has no parameter {name!r}; it has {', '.join(known)}"
            )


def folder_of(job: Job, notebook: bytes, root: Path) -> Path:
    """Return the folder of a job's results: a hash of the notebook, its parameters and this package."""
    parameters = json.dumps(dict(job.parameters), sort_keys=True)
    content = b"\0".join([_source(notebook), parameters.encode(), code_digest().encode()])
    return root / f"{job.notebook}-{hashlib.sha256(content).hexdigest()[:12]}"


def to_do(jobs: Sequence[Job], folders: Mapping[str, Path]) -> list[Job]:
    """Return the jobs whose results are not complete, in order."""
    return [job for job in jobs if not is_current(folders[job.notebook])]


def announcement(todo: Sequence[Job], num_jobs: int) -> str:
    """Say what will be run and what it will cost, before anything is.

    >>> announcement([], 3)
    '3 of 3 notebooks are complete; nothing to run'
    """
    done = num_jobs - len(todo)
    if not todo:
        return f"{done} of {num_jobs} notebooks are complete; nothing to run"
    minutes = sum(job.seconds for job in todo) / 60
    names = ", ".join(job.notebook for job in todo)
    already = f" ({done} complete already)" if done else ""
    return f"running {names}{already}: about {minutes:.0f} minutes on two cores, no network"


def _source(notebook: bytes) -> bytes:
    """The cells of a notebook without outputs, which differ each time it is saved."""
    cells = json.loads(notebook)["cells"]
    return json.dumps([[cell["cell_type"], cell["source"]] for cell in cells]).encode()
