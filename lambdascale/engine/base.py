"""The engine: runs a contiguous range of a model's parts for a batch of chunks.

Bodies: torch on CPU or CUDA (`engine.torch_engine`); the symbolic one lives in `sim`. `prepare` happens
before any byte of the model arrives: tensors alias the image region, so arrival attaches nothing, and
any range whose parts are runnable may be executed at any time. Rows are opaque bytes: what one engine
returns is what the next stage's engine accepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lambdascale.model.layout import ImageLayout
from lambdascale.transport.base import Region
from lambdascale.workload.request import Sampling

Rows = npt.NDArray[np.uint8]  # [rows, bytes per row]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What `prepare` allocates for: sequences, tokens per sequence, tokens per step."""

    max_slots: int
    max_length: int
    max_step_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """Positions [start, start + length) of the sequence in KV slot `slot`.

    `emit` says that the row of its last position is wanted from the last part.
    """

    slot: int
    start: int
    length: int
    emit: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Run parts [first, stop) for `chunks`.

    Input: `tokens` (one id per position, chunk after chunk) if first == 0, else `rows` of the same count.
    A chunk with start == 0 begins a new sequence in its slot.
    """

    first: int
    stop: int
    chunks: Sequence[Chunk]
    tokens: Sequence[int] | None = None
    rows: Rows | None = None

    @property
    def num_tokens(self) -> int:
        return sum(chunk.length for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Pick:
    """Choose the token at `position` of request `request` from one row."""

    request: int
    position: int
    sampling: Sampling


class Engine(Protocol):
    """Executes parts of one model; calls are served one at a time, in the order they were made."""

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row between stages."""
        ...

    @property
    def final_row_nbytes(self) -> int:
        """Bytes of one row after the last part: hidden if the head is tied, else logits."""
        ...

    @property
    def steps(self) -> int:
        """How many calls of `forward` and `sample` have been completed."""
        ...

    @property
    def overruns(self) -> int:
        """How many of them took longer than the emulated device's floor (0 if none is imposed)."""
        ...

    async def prepare(
        self, layout: ImageLayout, config: str, image: Region, limits: EngineLimits
    ) -> None:
        """Build the model over `image` and allocate KV.

        `config` is the Hugging Face configuration (config.json) as text.
        """
        ...

    async def forward(self, step: Step) -> Rows:
        """Return one row per position, or, after the last part, one row per emitting chunk."""
        ...

    async def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Choose one token per final row (needs part 0 when the embeddings are tied)."""
        ...

    async def close(self) -> None: ...
