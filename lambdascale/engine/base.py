"""The engine: runs a contiguous range of a model's parts for a batch of chunks.

Bodies: torch on CPU or CUDA (`engine.torch_engine`); the symbolic one lives in `sim`. `prepare` builds
the model ahead, without memory; `attach` gives it memory, before any byte of the model arrives: tensors
alias the image region, so arrival costs nothing, and any range whose parts are runnable may be executed
at any time. Rows are opaque bytes: what one engine returns is what the next stage's engine accepts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lambdascale.engine.kv import KvCache
from lambdascale.errors import ConfigError
from lambdascale.model.layout import ALIGNMENT, ImageLayout
from lambdascale.transport.base import Region
from lambdascale.workload.request import Sampling

Rows = npt.NDArray[np.uint8]  # [rows, bytes per row]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine has room for: sequences, tokens per sequence, tokens per step."""

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

    @property
    def num_attended(self) -> int:
        """Positions whose KV entries each layer reads: all of every sequence so far, once a chunk."""
        return sum(chunk.start + chunk.length for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Pick:
    """Choose the token at `position` of request `request` from one row."""

    request: int
    position: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class RowWidths:
    """Bytes of one row between stages, and after the last part: hidden if the head is tied, else logits."""

    row_nbytes: int
    final_row_nbytes: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one step has sampled by `time_s` of the loop's clock: a token for each pick, in their order."""

    time_s: float
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class StepCounts:
    """How many calls of `forward` and `sample` have been completed.

    `overruns` of them took longer than the emulated device's floor (0 if none is imposed).
    """

    steps: int = 0
    overruns: int = 0


class Engine(Protocol):
    """Executes parts of one model; calls are served one at a time, in the order they were made.

    Several engines may take turns on the same regions. `forward` and `sample` raise ModelError while no
    model is attached.
    """

    @property
    def counts(self) -> StepCounts: ...

    @property
    def kv(self) -> KvCache:
        """The KV cache of the prepared model; ModelError before `prepare`."""
        ...

    async def prepare(self, layout: ImageLayout, config: str, limits: EngineLimits) -> RowWidths:
        """Build the model, without any memory for weights or KV: the slow part, to be done ahead.

        `config` is the Hugging Face configuration (config.json) as text.
        """
        ...

    async def attach(
        self, image: Region, offset: int, kv: Region, parts: range | None = None
    ) -> None:
        """Alias `parts` (None: all) of the model to `image`, its cache to `kv` from 0.

        Byte 0 of the packed image is, or would be, at `offset` of the region; only `parts` must lie inside
        it, and only they may be run. The cache is empty then and its bytes are zero; peers may write it once
        this has returned. Raises ConfigError if a region is too small, `offset` is not aligned, or a model
        is attached.
        """
        ...

    async def detach(self) -> None:
        """Let go of both regions once the calls before are done; without a model it does nothing."""
        ...

    async def forward(self, step: Step) -> Rows:
        """Return one row per position, or, after the last part, one row per emitting chunk."""
        ...

    async def sample(self, rows: Rows, picks: Sequence[Pick]) -> list[int]:
        """Choose one token per final row (needs part 0 when the embeddings are tied)."""
        ...

    async def generate(
        self, step: Step, picks: Sequence[Pick], num_steps: int, interrupt: asyncio.Event
    ) -> list[Round]:
        """Run the whole model, and on with what it samples, for 1 to `num_steps` steps.

        It ends at the next step boundary once `interrupt` is set, or after any step it likes. Every chunk of
        `step` has length 1 and emits; `picks` are those of the first step.
        """
        ...

    async def close(self) -> None: ...


def check_regions(
    layout: ImageLayout, parts: range, image: Region, offset: int, kv: Region, nbytes: int
) -> None:
    """Raise ConfigError unless `parts` lie in `image`, whose byte 0 is at `offset`, and `nbytes` in `kv`."""
    low, high = (layout.part_offsets[part] for part in (parts.start, parts.stop))
    if offset + low < 0 or offset % ALIGNMENT or offset + high > image.nbytes:
        raise ConfigError(
            f"offset is {offset}; it must be a multiple of {ALIGNMENT} with bytes {low} to {high} of "
            f"{layout.model} behind it in region {image.key} of {image.nbytes} bytes"
        )
    if nbytes > kv.nbytes:
        raise ConfigError(
            f"region {kv.key} has {kv.nbytes} bytes; the KV cache of {layout.model} needs {nbytes}"
        )
