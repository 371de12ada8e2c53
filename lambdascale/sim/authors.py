"""What the authors' software loses on top of the wire, fitted to their own times (paper.md h.1).

    a round = bytes ÷ wire rate + round_s + read_s × reads of at most 1 GB

Their blocks are fetched by one-sided reads, one outstanding at a time, and a round ends with messages to
the manager and back. Fitted on 7B and 13B to 4 and 8 nodes (four times, two constants); the usual
α + bytes ÷ β (6.3 ms, 42.1 GB/s) fits as well, but its β is no wire: reads of 1 GB explain it.
"""

import math
from dataclasses import dataclass

from lambdascale.sim.testbeds import WIRE_RATE


@dataclass(frozen=True, slots=True)
class Software:
    """Seconds per round of a multicast and per read of at most `read_nbytes`."""

    round_s: float
    read_s: float
    read_nbytes: float = 1e9

    def occupancy_s(self, nbytes: float) -> float:
        """Seconds for which the reads of a block keep its ports busy beyond its bytes."""
        return self.read_s * math.ceil(nbytes / self.read_nbytes)

    def seconds(self, nbytes: float, rate: float = WIRE_RATE) -> float:
        """Seconds of a round whose blocks have `nbytes`."""
        return self.round_s + self.occupancy_s(nbytes) + nbytes / rate


SOFTWARE = Software(round_s=6.5e-3, read_s=2.7e-3)
