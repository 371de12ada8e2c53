"""A trace by its name: generated, real, or a file.

Real traces are looked for in the folder that LAMBDASCALE_TRACES names, if it does, and in the cache, where
`lambdascale fetch --trace NAME` puts them.
"""

import os
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.model.cache import default_cache
from lambdascale.workload.catalogue import CATALOGUE
from lambdascale.workload.fetch import ways_out
from lambdascale.workload.generator import generate
from lambdascale.workload.recipes import RECIPES
from lambdascale.workload.trace import TraceRow, find_trace, read_trace


def default_folders() -> tuple[Path, ...]:
    """Return the folders real traces are looked for in, first to last."""
    chosen = os.environ.get("LAMBDASCALE_TRACES")
    return (*((Path(chosen),) if chosen else ()), default_cache() / "traces")


def load_trace(
    name: str, seed: int = 0, folders: tuple[Path, ...] | None = None
) -> tuple[TraceRow, ...]:
    """Return the generated or real trace `name`, or that of the file `name`; raises ConfigError.

    Only generated ones depend on `seed`; `folders` are `default_folders()` unless given.
    """
    if name in RECIPES:
        return generate(name, seed)
    if name not in CATALOGUE:
        return read_trace(_file(name))
    return _real(name, folders or default_folders())


def find_real(name: str, folders: tuple[Path, ...]) -> Path | None:
    """Return the file of a trace in the first of `folders` that has it."""
    paths = [path for folder in folders if (path := find_trace(name, folder))]
    return paths[0] if paths else None


def check_real(name: str) -> None:
    """Raise ConfigError unless `name` is a real trace of the catalogue."""
    if name in RECIPES:
        raise ConfigError(f"trace {name} is generated when it is used; there is nothing to fetch")
    if name not in CATALOGUE:
        raise ConfigError(f"trace {name!r} is unknown; use one of {', '.join(CATALOGUE)}")


def _real(name: str, folders: tuple[Path, ...]) -> tuple[TraceRow, ...]:
    path = find_real(name, folders)
    if path is None:
        raise ConfigError(
            f"trace {name} is not here; run `lambdascale fetch --trace {name}`, "
            f"{ways_out(name, folders[-1])}"
        )
    rows = read_trace(path)
    if not CATALOGUE[name].matches(rows):
        raise ConfigError(
            f"{path} is not the trace of the catalogue: its checksum differs; remove it and fetch it again, "
            "or give its path instead of its name"
        )
    return rows


def _file(name: str) -> Path:
    path = Path(name)
    if not path.suffix and not path.exists():
        known = ", ".join([*RECIPES, *CATALOGUE])
        raise ConfigError(
            f"trace {name!r} is unknown; use one of {known}, or the path of a CSV file"
        )
    return path
