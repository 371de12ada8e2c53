"""Debian's pyverbs, unpacked into a cache folder, for the one Python that it was built for."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.model.cache import published
from lambdascale.provision.softroce import packages

PACKAGE = "python3-pyverbs"


def prepare(cache: Path) -> Path:
    """Return the folder to import pyverbs from, downloaded first if it is not in `cache`.

    Raises ConfigError if this Python cannot import it.
    """
    folder = cache / PACKAGE
    if not folder.exists():
        print(f"downloading {PACKAGE} into {cache}", flush=True)
        with published(folder) as scratch:
            packages.download(PACKAGE, scratch)
    found = folder / "usr/lib/python3/dist-packages"
    check(found / "pyverbs")
    return found


def check(package: Path) -> None:
    """Raise ConfigError unless the extension modules in the folder are built for this Python."""
    ours, built = EXTENSION_SUFFIXES[0], sorted(package.glob("device.*.so"))
    if not any(path.name == f"device{ours}" for path in built):
        theirs = ", ".join(path.name for path in built) or "nothing"
        raise ConfigError(
            f"{PACKAGE} has {theirs}, this Python loads device{ours}; make .venv with PYTHON=/usr/bin/python3"
        )
