"""A node's PCIe link between its GPU and all else, where everything that crosses it shares the rate.

    into the GPU      copies from host memory, loads from SSD, writes of peers to regions on the GPU
    out of the GPU    copies to host memory, stores to SSD, writes to peers from regions on the GPU

The NIC reaches host memory and, over NVLink, GPUs of a host reach one another without it.
"""

from lambdascale.cluster.tags import HOST
from lambdascale.transport.base import Lane, Region
from lambdascale.transport.pacing import Port


class Pcie:
    """Both directions of the link, at `rate` bytes/s each."""

    def __init__(self, rate: float) -> None:
        self._into = Port(rate)
        self._out = Port(rate)

    def crossed(self, source: Region | None, target: Region | None) -> tuple[Port, ...]:
        """Return the direction that a move between tiers crosses, if any; None is the SSD."""
        leaves = source is not None and _on_gpu(source.key)
        enters = target is not None and _on_gpu(target.key)
        if leaves == enters:
            return ()
        return (self._out if leaves else self._into,)

    def leave(self, now: float, source: Region, nbytes: int, lane: Lane) -> float:
        """Reserve the way of `nbytes` to the NIC; return when they are there."""
        return self._out.leave(now, nbytes, lane) if _on_gpu(source.key) else now

    def arrive(self, now: float, target: int, nbytes: int, lane: Lane) -> float:
        """Reserve the way from the NIC to region `target`; return when the bytes may be seen."""
        return self._into.arrive(now, nbytes, lane) if _on_gpu(target) else now


def _on_gpu(key: int) -> bool:
    return key != HOST
