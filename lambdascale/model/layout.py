"""The packed image of a model: where every tensor lies, in execution order (paper.md e, "tensor packing").

A model is one contiguous, aligned image per (model, dtype). Its *parts* are the units of execution:

    part 0            embedding (also the output head when the embeddings are tied)
    part 1 … L        decoder layers 0 … L−1
    part L+1          final norm (and the output head when it is not tied)

Values only: no I/O, no torch. `checkpoint` fills an image, `engine` aliases its tensors.
"""

from dataclasses import dataclass
from itertools import pairwise

from lambdascale.errors import ConfigError

ALIGNMENT = 64  # bytes; a cache line, and enough for every dtype and vector instruction

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the image: `nbytes` at `offset`, belonging to `part`."""

    name: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    part: int


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """Where everything lies in the image of one (model, dtype).

    `part_offsets` has num_parts + 1 entries: part p is bytes [part_offsets[p], part_offsets[p + 1]).
    `tensors` may be empty for a model that is only simulated.
    """

    model: str
    dtype: str
    part_offsets: tuple[int, ...]
    tensors: tuple[TensorSpec, ...]
    tied: bool

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            raise ConfigError(f"dtype {self.dtype!r} is unknown; use one of {sorted(DTYPE_BYTES)}")
        if len(self.part_offsets) < 4 or any(a > b for a, b in pairwise(self.part_offsets)):
            raise ConfigError("part_offsets must ascend and describe at least three parts")

    @property
    def num_parts(self) -> int:
        return len(self.part_offsets) - 1

    @property
    def num_layers(self) -> int:
        return self.num_parts - 2

    @property
    def nbytes(self) -> int:
        return self.part_offsets[-1]

    def part_nbytes(self, part: int) -> int:
        return self.part_offsets[part + 1] - self.part_offsets[part]
