"""What parts, steps and hops cost: the quantities that the decisions of this package weigh (paper.md h.5).

A device is anything with the roofline of `engine.device.DeviceModel`; seconds come from it, never from
constants. Values only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lambdascale.errors import ConfigError
from lambdascale.model.layout import DTYPE_BYTES, ImageLayout
from lambdascale.model.shape import ModelShape

MARGIN = 1.05  # predicted gain below which nothing is lent or moved


class Device(Protocol):
    """How long a step takes; `engine.device.DeviceModel` is one."""

    def forward_s(self, layout: ImageLayout, first: int, stop: int, num_tokens: int) -> float:
        """Seconds to push `num_tokens` through parts [first, stop)."""

    def sample_s(self, layout: ImageLayout, num_rows: int) -> float:
        """Seconds to turn `num_rows` final rows into tokens."""


@dataclass(frozen=True, slots=True)
class Link:
    """Seconds of a message = latency_s + bytes ÷ rate; `rate` in bytes/s, one direction."""

    rate: float
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.latency_s < 0:
            raise ConfigError(f"{self} is impossible; rate must be positive, latency_s at least 0")

    def seconds(self, nbytes: float) -> float:
        """Seconds until a message of `nbytes` has arrived."""
        return self.latency_s + nbytes / self.rate


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """Sizes of one model: its image, and what one token leaves in the KV cache and sends per hop."""

    layout: ImageLayout
    kv_nbytes: int  # per token, all layers
    row_nbytes: int  # hidden state of one token
    logits_nbytes: int  # of one token

    @classmethod
    def of(cls, name: str, shape: ModelShape, dtype: str) -> "ModelCosts":
        """Read the sizes from a shape."""
        layout = shape.layout(name, dtype)
        kv, width = shape.kv_bytes_per_token(dtype), DTYPE_BYTES[dtype]
        return cls(layout, kv, shape.hidden * width, shape.vocab * width)

    def kv_of(self, first: int, stop: int) -> float:
        """Bytes that one token leaves in the KV caches of parts [first, stop)."""
        layers = min(stop, self.layout.num_parts - 1) - max(first, 1)
        return self.kv_nbytes * max(0, layers) / self.layout.num_layers


def part_nbytes(layout: ImageLayout) -> tuple[float, ...]:
    """Return what each part costs its stage, in bytes of weights read per step.

    A tied embedding is read by the head stage as the output head; an untied one is a mere look-up.
    """
    lookup = layout.part_nbytes(0) if layout.tied else 0
    return (float(lookup), *(float(layout.part_nbytes(p)) for p in range(1, layout.num_parts)))


def part_seconds(device: Device, layout: ImageLayout, num_tokens: int) -> tuple[float, ...]:
    """Return the seconds of each part for a step of `num_tokens`, without the cost of the launch."""
    launch_s = device.forward_s(layout, 0, 1, num_tokens)
    sample_s = max(0.0, device.sample_s(layout, num_tokens) - launch_s)
    forward = (
        device.forward_s(layout, p, p + 1, num_tokens) - launch_s
        for p in range(1, layout.num_parts)
    )
    return (sample_s, *forward)


def step_seconds(
    device: Device, layout: ImageLayout, rows: Sequence[int], launch_s: float = 0.0
) -> float:
    """Return the seconds of one step in which part p runs `rows[p]` rows together (0: not run)."""
    tables = {n: part_seconds(device, layout, n) for n in set(rows) if n > 0}
    return launch_s + sum(tables[n][p] for p, n in enumerate(rows) if n > 0)
