"""A packed model on this machine: its layout, its image as a file, and where its text files are.

A value, no torch. `checkpoint.pack` makes it; storage reads the image, engines take the configuration,
`text.Tokenizer` the folder.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lambdascale.model.layout import ImageLayout
from lambdascale.model.shape import ModelShape


@dataclass(frozen=True, slots=True)
class PackedModel:
    """The file `image` holds exactly `layout.nbytes` bytes; `config` is the text of config.json.

    `folder` is the checkpoint the image was packed from; it may lack a tokenizer.
    """

    layout: ImageLayout
    image: Path
    config: str
    folder: Path

    @property
    def shape(self) -> ModelShape:
        """The sizes that `config` states."""
        return ModelShape.from_config(json.loads(self.config))
