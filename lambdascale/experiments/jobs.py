"""Which notebooks a profile runs, with which parameters, what they cost, and where their results lie.

Pure values and decisions; `reproduce` acts on them.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lambdascale.claims.book import ROOT
from lambdascale.errors import ConfigError
from lambdascale.experiments.manifest import code_digest, is_current

NOTEBOOKS = ROOT / "notebooks"
RUNS = ROOT / "results" / "runs"

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Job:
    """One notebook; `parameters` replace its defaults, `seconds` is what it took on two cores.

    What is `measured` has the machine for itself; what is simulated shares it with others.
    """

    notebook: str
    seconds: int
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A job of a profile, the notebook it runs, and the folder of its results."""

    profile: str
    job: Job
    notebook: Path
    folder: Path

    @property
    def name(self) -> str:
        return self.job.notebook

    @property
    def is_complete(self) -> bool:
        """Are its results there, by this notebook and this code?"""
        return is_current(self.folder)


MODELS = "llama-2-7b, llama-2-13b, llama-2-70b"

PROFILES = {
    "quick": (
        Job("00_kick_the_tires", seconds=25, measured=True),
        Job("10_multicast_latency", seconds=35, measured=True),
        Job("20_execute_while_load", seconds=75, measured=True),
        Job("31_local_cache", seconds=65, measured=True),
        Job("40_faults", seconds=20, measured=True),
        Job("50_serve", seconds=30, measured=True),
        Job("11_schedules", seconds=10),
        Job("30_model_management", seconds=15),
        Job("paper/fig01_request_rates", seconds=10),
    ),
    "trust": (
        Job("02_calibrate", seconds=35, measured=True),
        Job("03_fidelity", seconds=60, measured=True),
    ),
    "cluster": (
        Job("01_provision", seconds=20, measured=True),
        Job("00_kick_the_tires", seconds=60, measured=True),
        Job("10_multicast_latency", seconds=90, measured=True),
        Job("20_execute_while_load", seconds=170, measured=True),
        Job("31_local_cache", seconds=60, measured=True),
    ),
    "paper": (
        Job("11_schedules", seconds=10),
        Job("30_model_management", seconds=15),
        Job("paper/fig01_request_rates", seconds=10),
        Job("paper/table1_testbeds", seconds=10),
        Job("paper/fig04_architecture", seconds=10),
        Job("paper/fig05_schedule", seconds=10),
        Job("paper/fig06_pipelines", seconds=20),
        Job(
            "paper/fig07_multicast_latency",
            seconds=30,
            parameters={"nodes_7b": "2, 4, 8", "nodes_13b": "4, 8, 12", "nodes_70b": "2, 4"},
        ),
        Job(
            "paper/fig08_throughput_ramp",
            seconds=30,
            parameters={"ks_7b": "1, 2, 4", "ks_70b": "1, 2"},
        ),
        Job(
            "paper/tr_block_count",
            seconds=15,
            parameters={"ks": "1, 2, 4", "blocks": "4, 8, 16, 32, 64"},
        ),
        Job("paper/tr_kway_order", seconds=10),
        Job("paper/tr_ablation", seconds=10),
        Job("paper/tr_host_memory", seconds=20, parameters={"ks": "1, 2, 4, 8"}),
        Job("paper/tr_execute_while_load", seconds=20, parameters={"ks": "1, 2, 4"}),
        Job(
            "paper/fig09_ttft",
            seconds=100,
            parameters={"models": MODELS, "every_rate": True, "num_phases": 4},
        ),
        Job(
            "paper/fig10_gpu_allocation",
            seconds=180,
            parameters={"models": MODELS, "num_seeds": 2, "num_requests": 0},
        ),
        Job(
            "paper/fig11_ttft_trace",
            seconds=540,
            parameters={"models": MODELS, "num_seeds": 5, "num_requests": 0},
        ),
        Job(
            "paper/beyond_trace",
            seconds=340,
            parameters={
                "policies": "authors, event-driven, in turn",
                "keep_alives": "0, 5, 15, 60",
                "num_requests": 0,
            },
        ),
        Job("paper/beyond_continuous", seconds=180, parameters={"duration_s": 120.0}),
        Job(
            "paper/beyond_slow_node",
            seconds=40,
            parameters={"receivers": "8, 12", "positions": 4},
        ),
        Job(
            "paper/beyond_faults",
            seconds=45,
            parameters={"shares": "0.01, 0.03", "num_seeds": 8, "nodes": "8, 12"},
        ),
    ),
    "soak": (
        Job(
            "paper/beyond_kills",
            seconds=1300,
            parameters={
                "trace": "lambdascale_trace0_30min",
                "seconds": 600.0,
                "speedup": 1.0,
                "num_kills": 4,
                "num_prompts": 24,
                "max_tokens": 32,
            },
            measured=True,
        ),
        Job(
            "paper/beyond_thousand_nodes",
            seconds=300,
            parameters={"num_nodes": 1000, "num_requests": 100_000},
        ),
    ),
}


def jobs_of(profile: str, cluster: str = "") -> tuple[Job, ...]:
    """Return the jobs of a profile; those of the profile `cluster` run on the one of that file.

    ConfigError if there is no such profile.
    """
    if profile not in PROFILES:
        raise ConfigError(f"profile {profile!r} is unknown; use one of {', '.join(PROFILES)}")
    if profile != "cluster":
        return PROFILES[profile]
    jobs = PROFILES[profile]
    return tuple(replace(job, parameters={**job.parameters, "cluster": cluster}) for job in jobs)


def tasks_of(
    profile: str, notebooks: Path = NOTEBOOKS, out: Path = RUNS, cluster: str = ""
) -> list[Task]:
    """Return the tasks of a profile; ConfigError if it is unknown, or a notebook is not there."""
    tasks = []
    for job in jobs_of(profile, cluster):
        path = notebooks / f"{job.notebook}.ipynb"
        if not path.is_file():
            raise ConfigError(
                f"{path} does not exist; name the folder of the notebooks: --notebooks"
            )
        tasks.append(Task(profile, job, path, folder_of(job, path.read_bytes(), out)))
    return tasks


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


def to_do(tasks: Sequence[Task]) -> list[Task]:
    """Return what is not complete, each folder once: what is measured, then the longest first."""
    missing = {task.folder: task for task in tasks if not task.is_complete}.values()
    return sorted(missing, key=lambda task: (not task.job.measured, -task.job.seconds))


def expected_s(tasks: Iterable[Task], num_workers: int) -> float:
    """Return how long tasks take: measured ones one by one, then the others side by side."""
    jobs = [task.job for task in tasks]
    lanes = [0.0] * num_workers
    for seconds in sorted((job.seconds for job in jobs if not job.measured), reverse=True):
        heapq.heapreplace(lanes, lanes[0] + seconds)
    return sum(job.seconds for job in jobs if job.measured) + max(lanes)


def announcement(todo: Sequence[Task], num_tasks: int, num_workers: int) -> str:
    """Say what will be run and what it will cost, before anything is.

    >>> announcement([], 3, 2)
    '3 of 3 notebooks are complete; nothing to run'
    """
    done = num_tasks - len(todo)
    if not todo:
        return f"{done} of {num_tasks} notebooks are complete; nothing to run"
    names = ", ".join(task.name for task in todo)
    already = f" ({done} complete already)" if done else ""
    cost = f"about {duration(expected_s(todo, num_workers))}, {num_workers} at a time"
    return f"running {names}{already}: {cost}; measured ones alone; no network"


def duration(seconds: float) -> str:
    """Return seconds as they are read.

    >>> duration(42.4), duration(90), duration(3599)
    ('42 s', '2 min', '60 min')
    """
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60 + 1e-9:.0f} min"


def _source(notebook: bytes) -> bytes:
    """The cells of a notebook without outputs, which differ each time it is saved."""
    cells = json.loads(notebook)["cells"]
    return json.dumps([[cell["cell_type"], cell["source"]] for cell in cells]).encode()
