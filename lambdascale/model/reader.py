"""Opens the safetensors files of a Hugging Face folder and checks them against a layout.

Opening a file checks that it is as long as its header says; `check` compares every name, shape and
number format. Both happen before the first weight is read.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lambdascale.errors import ModelError
from lambdascale.model.layout import ImageLayout
from lambdascale.model.source import weight_files

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
READABLE = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint: `files` maps the name of every tensor to the open file that holds it."""

    folder: Path
    files: dict[str, Any]

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor; a tied embedding may be stored as the head only."""
        stored = name if name in self.files else HEAD
        tensor: torch.Tensor = self.files[stored].get_tensor(stored)
        return tensor

    def check(self, layout: ImageLayout) -> None:
        """Raise ModelError unless the checkpoint holds the parameters of `layout` and no others."""
        for spec in layout.tensors:
            alias = HEAD if layout.tied and spec.name == EMBEDDING else spec.name
            self._check_tensor(spec.name if spec.name in self.files else alias, spec.shape)
        surplus = self.files.keys() - {spec.name for spec in layout.tensors}
        unused = sorted(name for name in surplus if name.endswith((".weight", ".bias")))
        if layout.tied and HEAD in unused:
            unused.remove(HEAD)
            self._check_tied()
        if unused:
            raise ModelError(
                f"checkpoint {self.folder} has {unused[0]}, which its config.json does not explain"
            )

    def _check_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self.files:
            raise ModelError(f"checkpoint {self.folder} lacks tensor {name}; fetch it again")
        header = self.files[name].get_slice(name)
        if tuple(header.get_shape()) != shape:
            raise ModelError(
                f"tensor {name} of {self.folder} has shape {tuple(header.get_shape())}, "
                f"but its config.json asks for {shape}"
            )
        if header.get_dtype() not in READABLE:
            raise ModelError(
                f"tensor {name} of {self.folder} is {header.get_dtype()}; "
                "use a checkpoint in float32, bfloat16 or float16"
            )

    def _check_tied(self) -> None:
        if EMBEDDING in self.files and not torch.equal(self.tensor(EMBEDDING), self.tensor(HEAD)):
            raise ModelError(
                f"checkpoint {self.folder} stores an output head unlike its embedding; "
                "set tie_word_embeddings to false in its config.json"
            )


@contextmanager
def opened(folder: Path) -> Iterator[Checkpoint]:
    """Open every weight file of `folder`; raises ModelError for a truncated or unreadable one."""
    files: dict[str, Any] = {}
    with ExitStack() as stack:
        for path in weight_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"cannot read {path}: truncated or damaged ({error}); remove and fetch it again"
                ) from error
            files |= dict.fromkeys(file.keys(), file)
        yield Checkpoint(folder, files)
