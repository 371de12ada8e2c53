"""The manifest of a results folder: written last and at once, so that a folder with one is complete.

It states what was run, on which machine, with which versions and by which code. A result of other code is
not taken for one of this code.
"""

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from lambdascale.experiments.machine import machine, versions

MANIFEST = "manifest.json"
PACKAGE = Path(__file__).parent.parent


def write_manifest(folder: Path, stated: dict[str, Any]) -> None:
    """Write `stated`, machine, versions, code and time; after this the folder is complete."""
    manifest = stated | {
        "machine": machine(),
        "versions": versions(),
        "code": code_digest(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    partial = folder / f".{MANIFEST}"
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, or None if the folder is not complete."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def is_current(folder: Path) -> bool:
    """Is the folder complete, and written by the code that is running?"""
    manifest = read_manifest(folder)
    return manifest is not None and manifest["code"] == code_digest()


@cache
def code_digest() -> str:
    """A short name of this package's source, which changes when any of it does."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
