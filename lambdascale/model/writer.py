"""Writes the image of a checkpoint: every tensor converted to the image's dtype, at its place."""

import os
from pathlib import Path

import torch

from lambdascale.errors import ModelError
from lambdascale.model.layout import ImageLayout
from lambdascale.model.reader import Checkpoint, opened

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def write_image(folder: Path, layout: ImageLayout, path: Path) -> None:
    """Write the checkpoint in `folder` to `path`, `layout.nbytes` long, and flush it to the disk.

    Raises ModelError, before anything is written, if the checkpoint does not fit the layout.
    """
    with opened(folder) as checkpoint:
        checkpoint.check(layout)
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
    return tensor.view(-1).view(torch.uint8).numpy().data
