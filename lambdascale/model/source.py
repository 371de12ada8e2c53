"""A Hugging Face folder as files: its configuration, its weight files, and what identifies it.

No torch: looking up an image that is already packed must not cost an import of it.
"""

import hashlib
import json
from pathlib import Path

from lambdascale.errors import ModelError
from lambdascale.model.layout import ImageLayout


def read_config(folder: Path) -> str:
    """Return the text of config.json; raises ModelError unless it is a JSON object."""
    path = folder / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} ({error}); a Hugging Face folder has one") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no configuration; fetch the checkpoint again")
    return text


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint: those of its index if there is one."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = [folder / name for name in _indexed(index)]
    elif (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    else:
        files = sorted(folder.glob("*.safetensors"))
    missing = [path.name for path in files if not path.is_file()]
    if missing or not files:
        what = f"lacks {missing[0]}" if missing else "has no safetensors files"
        raise ModelError(f"checkpoint {folder} {what}; fetch it again or convert it")
    return files


def identity(folder: Path, layout: ImageLayout) -> str:
    """Return 16 digits that change whenever a weight file or the way of packing does."""
    stats = [(path.name, path.stat()) for path in weight_files(folder)]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    source = repr((str(folder.resolve()), files, layout))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _indexed(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"cannot read {index}: it is no safetensors index") from error
