"""The runs that are kept below a folder, as a table: what ran, where, when, and by which code.

Read from the manifests alone; a folder without one is a run that did not finish, and is not listed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lambdascale.experiments.manifest import MANIFEST, code_digest, read_manifest

COLUMNS = ("run", "provenance", "hardware", "date", "code", "digest", "folder")


def kept_runs(root: Path) -> pd.DataFrame:
    """Return one row per complete run below `root`, the newest first; `folder` is relative to it.

    `code` is *this* if the code that is running wrote it, otherwise the other's digest.
    """
    rows = [_row(root, folder, stated) for folder, stated in _manifests(root) if "specs" in stated]
    rows.sort(key=lambda row: (str(row["date"]), str(row["folder"])), reverse=True)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _manifests(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in sorted(root.rglob(MANIFEST)):
        if stated := read_manifest(path.parent):
            yield path.parent, stated


def _row(root: Path, folder: Path, stated: Mapping[str, Any]) -> dict[str, object]:
    labels = [str(spec["label"]) for spec in stated["specs"]]
    machine = stated["machine"]
    return {
        "run": ", ".join(labels),
        "provenance": stated["provenance"],
        "hardware": f"{machine['cores']} cores, {machine['processor']}",
        "date": str(stated["written"])[:16].replace("T", " "),
        "code": "this" if stated["code"] == code_digest() else stated["code"],
        "digest": folder.name.rpartition("-")[2],
        "folder": folder.relative_to(root).as_posix(),
    }
