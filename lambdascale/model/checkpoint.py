"""Packs a local Hugging Face safetensors folder into one image file (paper.md e, "tensor packing").

An image is kept in the cache under the identity of its source and its dtype: a second `pack` of the
same source only looks it up, and two processes that pack at once both end with a whole image.
"""

import hashlib
import json
import os
from pathlib import Path

import torch

from lambdascale.errors import ModelError
from lambdascale.model.cache import discard, published
from lambdascale.model.layout import ImageLayout
from lambdascale.model.packed import PackedModel
from lambdascale.model.reader import Checkpoint, opened, weight_files
from lambdascale.model.shape import ModelShape

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pack(folder: Path, name: str, dtype: str, cache: Path) -> PackedModel:
    """Return the image of the checkpoint in `folder`, packed now unless `cache` has it.

    Raises ModelError if the checkpoint is missing, truncated, of an unsupported architecture, or does
    not hold the tensors that its configuration asks for.
    """
    config = _read_config(folder)
    layout = ModelShape.from_config(json.loads(config)).layout(name, dtype)
    target = cache / "images" / f"{name}-{dtype}-{_identity(folder, layout)}"
    packed = PackedModel(layout, target / "image.bin", config, folder)
    if not _present(packed):
        discard(target)
        with published(target) as scratch, opened(folder) as checkpoint:
            checkpoint.check(layout)
            _write(checkpoint, layout, scratch / packed.image.name)
    return packed


def _present(packed: PackedModel) -> bool:
    return packed.image.is_file() and packed.image.stat().st_size == packed.layout.nbytes


def _read_config(folder: Path) -> str:
    path = folder / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        config = json.loads(text)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} ({error}); a Hugging Face folder has one") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no configuration; fetch the checkpoint again")
    return text


def _identity(folder: Path, layout: ImageLayout) -> str:
    """Sixteen digits that change whenever a source file or the way of packing does."""
    stats = [(path.name, path.stat()) for path in weight_files(folder)]
    files = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    source = repr((str(folder.resolve()), files, layout))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _write(checkpoint: Checkpoint, layout: ImageLayout, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(layout.nbytes)  # the gaps of the alignment read as zeros
        for spec in layout.tensors:
            file.seek(spec.offset)
            file.write(_converted(checkpoint, spec.name, layout.dtype))
        file.flush()
        os.fsync(file.fileno())  # the name must not outlive a crash that the bytes do not


def _converted(checkpoint: Checkpoint, name: str, dtype: str) -> memoryview:
    source = checkpoint.tensor(name)
    tensor = source.to(DTYPES[dtype]).contiguous()
    if dtype == "float16" and tensor.isinf().any() and not source.isinf().any():
        raise ModelError(f"tensor {name} of {checkpoint.folder} overflows float16; use bfloat16")
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())
