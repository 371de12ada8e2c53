"""The cache folder: where it is, and how something appears in it at once or not at all.

Two processes that make the same thing at the same time do not meet: each fills a scratch folder of its
own, the first to finish publishes it by one rename, and the other drops its copy.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lambdascale.errors import ModelError


def default_cache() -> Path:
    """Return $LAMBDASCALE_CACHE, or `lambdascale` in the user's cache folder."""
    if chosen := os.environ.get("LAMBDASCALE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lambdascale"


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an exception.

    If `target` exists by then it stays as it is. Raises ModelError if the cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            yield folder
            _rename(folder, target)
    except OSError as error:
        raise _unwritable(target, error) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file at once; raises ModelError if the cache cannot be written."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as scratch:
            written = Path(scratch) / path.name
            written.write_bytes(data)
            written.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def discard(target: Path) -> None:
    """Remove the folder `target`, if it is there, in one step for everybody else."""
    if not target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".discarded-") as scratch:
        target.rename(Path(scratch) / target.name)


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _unwritable(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"cannot write {path} ({error.strerror}); make room or set LAMBDASCALE_CACHE to another folder"
    )
