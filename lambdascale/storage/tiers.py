"""The tiers that a copy of a model can lie in, how much fits there, and how long it may stay unused.

Paper.md d.3. Values only; `residency` decides with them.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

from lambdascale.errors import ConfigError


class Tier(IntEnum):
    """Where a copy lies, fastest first."""

    GPU = 0
    HOST = 1
    SSD = 2


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes that one node has for copies, per tier; 0 if it lacks the tier."""

    gpu: int
    host: int
    ssd: int

    def __post_init__(self) -> None:
        for name in ("gpu", "host", "ssd"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} capacity is {getattr(self, name)} bytes; give 0 or more bytes"
                )

    def of(self, tier: Tier) -> int:
        """Return the bytes of one tier."""
        return (self.gpu, self.host, self.ssd)[tier]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Seconds that an unused copy stays; `math.inf` keeps it until something else needs the room.

    The default of `host_s` is the paper's (d.3). Copies on an SSD stay, and those in host memory of the
    first `pinned_hosts` nodes.
    """

    gpu_s: float
    host_s: float = 15.0
    pinned_hosts: int = 0

    def __post_init__(self) -> None:
        for name in ("gpu_s", "host_s"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; a keep-alive is 0 seconds or more, or inf"
                )

    def of(self, node: int, tier: Tier) -> float:
        """Return the seconds of one tier of a node."""
        pinned = node < self.pinned_hosts
        return (self.gpu_s, math.inf if pinned else self.host_s, math.inf)[tier]
