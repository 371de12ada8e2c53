"""The cost model of one device: how long a step takes, as a pure function (paper.md h.5).

The simulated engine waits this long; the real engine, when a floor is imposed, sleeps the remainder, so
several emulated devices share a few cores honestly. One model, two uses.
"""

from dataclasses import dataclass

from lambdascale.errors import ConfigError
from lambdascale.model.layout import ImageLayout


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A roofline with a launch cost: seconds = launch_s + max(bytes ÷ bandwidth, FLOPs ÷ rate).

    `bandwidth` in bytes/s, `flops` in FLOP/s; a matrix weight costs 2 FLOPs per token.
    """

    bandwidth: float
    flops: float
    launch_s: float = 0.0

    def __post_init__(self) -> None:
        if self.bandwidth <= 0 or self.flops <= 0 or self.launch_s < 0:
            raise ConfigError(f"{self} is impossible; rates must be positive, launch_s at least 0")

    def step_s(self, weight_nbytes: int, num_weights: int, num_tokens: int) -> float:
        """Seconds to push `num_tokens` through weights of the given size."""
        compute = 2 * num_weights * num_tokens / self.flops
        return self.launch_s + max(weight_nbytes / self.bandwidth, compute)


def range_nbytes(layout: ImageLayout, first: int, stop: int) -> int:
    """Bytes of weights that a step over parts [first, stop) reads.

    The embedding is a look-up when it is part 0, and is read in full once, as the output head, by `sample`.
    """
    return layout.part_offsets[stop] - layout.part_offsets[max(first, 1)] if stop > 1 else 0
