"""An imposed link rate: when a write may leave and when it may be seen, as pure bookkeeping.

A node's NIC has two `Port`s, egress and ingress, full duplex. The sender moves the bytes during its egress
slot and tells of them at its end; the receiver shows them no sooner than its ingress could have taken them:

    egress   |--- block 0 ---|--- block 1 ---|          free = max(free, now) + n/r, leave at free
    ingress  |--- block 0 ---|--- block 1 ---|          free = max(free + n/r, now), shown at free

so an idle receiver adds nothing (cut-through), and two senders to one receiver share its rate. Express
writes do not queue behind bulk ones; they take their share of the port, as queue pairs of a NIC do. (An
express write that arrives while a bulk one is on its way must not move `free` up to now: the bulk one's
slot began before.)
The emulated transports sleep until these times; the simulated one waits on the virtual clock.
"""

from lambdascale.errors import ConfigError
from lambdascale.transport.base import Lane


class Port:
    """One direction of a NIC of `rate` bytes/s; `math.inf` imposes nothing. Not thread-safe."""

    def __init__(self, rate: float) -> None:
        if not rate > 0:
            raise ConfigError(f"link rate is {rate} bytes/s; it must be positive")
        self._rate = rate
        self._free = 0.0

    def seconds(self, nbytes: int) -> float:
        """Return how long `nbytes` keep the port busy."""
        return nbytes / self._rate

    def leave(self, now: float, nbytes: int, lane: Lane) -> float:
        """Reserve egress for `nbytes` from `now`; return the time at which they have left."""
        seconds = self.seconds(nbytes)
        self._free = max(self._free, now) + seconds
        return now + seconds if lane is Lane.EXPRESS else self._free

    def arrive(self, now: float, nbytes: int, lane: Lane) -> float:
        """Reserve ingress for `nbytes` that came at `now`; return the time at which they may be seen."""
        self._free += self.seconds(nbytes)
        if lane is Lane.EXPRESS:
            return now
        self._free = max(self._free, now)
        return self._free
