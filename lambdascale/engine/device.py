"""The cost model of one device: how long a step takes, as a pure function (paper.md h.5).

The simulated engine waits this long; the real engine, when a floor is imposed, sleeps the remainder,
so several emulated devices share a few cores honestly. One model, two uses.
"""

from dataclasses import dataclass, replace

from lambdascale.errors import ConfigError
from lambdascale.model.layout import DTYPE_BYTES, ImageLayout


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A roofline with a launch cost: seconds = launch_s + max(bytes ÷ bandwidth, FLOPs ÷ flops).

    `bandwidth` in bytes/s, `flops` in FLOP/s; a matrix weight costs 2 FLOPs per token. The embedding
    is a look-up when it is part 0; as a tied output head it is read in full, once per `sample`. Bytes are
    those of the weights and, with `reads_kv`, of the KV entries that are attended to.
    """

    bandwidth: float
    flops: float
    launch_s: float = 0.0
    reads_kv: bool = False

    def __post_init__(self) -> None:
        if self.bandwidth <= 0 or self.flops <= 0 or self.launch_s < 0:
            raise ConfigError(f"{self} is impossible; rates must be positive, launch_s at least 0")

    def slowed(self, factor: float) -> "DeviceModel":
        """Return a device that takes `factor` times as long for everything."""
        bandwidth, flops = self.bandwidth / factor, self.flops / factor
        return replace(self, bandwidth=bandwidth, flops=flops, launch_s=self.launch_s * factor)

    def forward_s(
        self, layout: ImageLayout, first: int, stop: int, num_tokens: int, kv_nbytes: float = 0.0
    ) -> float:
        """Seconds to push `num_tokens` through parts [first, stop), which read `kv_nbytes` of KV entries."""
        low = max(first, 1)
        nbytes = layout.part_offsets[stop] - layout.part_offsets[low] if stop > low else 0
        return self._seconds(nbytes, layout, num_tokens, kv_nbytes)

    def sample_s(self, layout: ImageLayout, num_rows: int) -> float:
        """Seconds to turn `num_rows` final rows into tokens."""
        return self._seconds(layout.part_nbytes(0), layout, num_rows) if layout.tied else 0.0

    def _seconds(
        self, nbytes: int, layout: ImageLayout, num_tokens: int, kv_nbytes: float = 0.0
    ) -> float:
        num_weights = nbytes // DTYPE_BYTES[layout.dtype]
        read = nbytes + kv_nbytes if self.reads_kv else nbytes
        return self.launch_s + max(read / self.bandwidth, 2 * num_weights * num_tokens / self.flops)
