"""The medium that simulated transports share: who is where, how long a write takes, and what goes wrong.

The timing of a write is the bookkeeping of `transport.pacing`, as for the emulated real transports:

    posted → (egress of the sender) → left → latency_s → (ingress of the receiver) → shown, noticed

`occupancy_s` is what every operation costs a port beyond its bytes, as long as that many bytes take.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdascale.errors import ConfigError
from lambdascale.sim.corruption import Corruption
from lambdascale.sim.jitter import Jitter
from lambdascale.transport.base import Lane
from lambdascale.transport.pacing import Port

if TYPE_CHECKING:
    from lambdascale.sim.transport import SimTransport


@dataclass(frozen=True, slots=True)
class Delivery:
    """A write of `src` as it lands in region `region` of `dst`; zero bytes only notify."""

    src: int
    dst: int
    lane: Lane
    region: int
    offset: int
    nbytes: int
    tag: int


class SimNetwork:
    """Connects the simulated transports made on it; also the handle by which tests do harm.

    The `nodes_per_host` consecutive nodes of a host share its NIC, whose rate is that of the first; among
    themselves they write at `local_rate` bytes/s, each with a port of its own. A link takes `connect_s`
    and two latencies to open. The times of writes vary by `jitter`, and a share `corruption` of those into
    GPU memory arrives changed (see there), as `seed` has it.
    """

    def __init__(
        self,
        latency_s: float = 0.0,
        occupancy_s: float = 0.0,
        nodes_per_host: int = 1,
        local_rate: float = math.inf,
        connect_s: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        corruption: float = 0.0,
    ) -> None:
        if nodes_per_host < 1:
            raise ConfigError(f"nodes_per_host is {nodes_per_host}; it must be at least 1")
        for name, value in (
            ("latency", latency_s),
            ("occupancy", occupancy_s),
            ("connect", connect_s),
        ):
            if value < 0:
                raise ConfigError(f"{name}_s is {value}; it must be at least 0")
        self.latency_s = latency_s
        self.occupancy_s = occupancy_s
        self.connect_s = connect_s
        self._jitter = jitter
        self._seed = seed
        self._jitters: dict[tuple[int, int, Lane], Jitter] = {}
        self._nodes_per_host = nodes_per_host
        self._local_rate = local_rate
        self._shared: dict[int, Nic] = {}
        self._members: dict[str, SimTransport] = {}
        self._num_addresses = 0
        self._corruption = Corruption(corruption, seed)
        self._faults: list[Callable[[Delivery], bool]] = []

    def host_of(self, node: int) -> int:
        """Return the host of a node."""
        return node // self._nodes_per_host

    def nic(self, node: int, rate: float) -> "Nic":
        """Return the NIC of a node, shared with its host's other nodes."""
        if self._nodes_per_host == 1:
            return Nic(rate, self.occupancy_s)
        return self._shared.setdefault(self.host_of(node), Nic(rate, self.occupancy_s))

    def jitter(self, src: int, dst: int, lane: Lane) -> Jitter:
        """Return what the times of writes from `src` to `dst` vary by; a new link goes on where one ended."""
        new = Jitter(self._jitter, self._seed, src, dst, lane)
        return self._jitters.setdefault((src, dst, lane), new)

    def local_port(self) -> "Nic":
        """Return a node's port to the other nodes of its host."""
        return Nic(self._local_rate, 0.0)

    def attach(self, member: "SimTransport") -> str:
        """Give a transport its place; return its address."""
        self._num_addresses += 1
        address = f"sim:{member.node}.{self._num_addresses}"
        self._members[address] = member
        return address

    def detach(self, address: str) -> None:
        """Forget whoever is at `address`."""
        self._members.pop(address, None)

    def find(self, address: str) -> "SimTransport | None":
        """Return who is at `address`."""
        return self._members.get(address)

    def kill(self, node: int) -> None:
        """Let `node` die: its peers lose their links, writes to it fail, its own never end."""
        for member in [m for m in self._members.values() if m.node == node]:
            member.die()

    def slow(self, node: int, rate: float) -> None:
        """Change the link rate of `node` to `rate` bytes/s from now on."""
        for member in [m for m in self._members.values() if m.node == node]:
            member.nic.set_rate(rate)

    def corrupt(self, matches: Callable[[Delivery], bool]) -> None:
        """Flip the last byte of the next non-empty write for which `matches` holds (once per call)."""
        self._faults.append(matches)

    def spoils(self, delivery: Delivery) -> bool:
        """Say whether this delivery is to be corrupted, and use up the fault or the draw that says so."""
        for i, matches in enumerate(self._faults):
            if delivery.nbytes and matches(delivery):
                del self._faults[i]
                return True
        d = delivery
        return self._corruption.hits(d.src, d.dst, d.region, d.nbytes)


class Nic:
    """Both directions of a node's link, with the cost of an operation on top of its bytes."""

    def __init__(self, rate: float, occupancy_s: float) -> None:
        self._occupancy_s = occupancy_s
        self._egress = Port(rate)
        self._ingress = Port(rate)
        self._overhead = self._overhead_at(rate)

    def _overhead_at(self, rate: float) -> float:
        if self._occupancy_s and math.isinf(rate):
            raise ConfigError("occupancy_s needs a finite link rate; give one, or 0 occupancy")
        return self._occupancy_s * rate if self._occupancy_s else 0.0

    def set_rate(self, rate: float) -> None:
        """Go on at another rate; what was reserved keeps its times."""
        self._overhead = self._overhead_at(rate)
        self._egress = _successor(self._egress, rate)
        self._ingress = _successor(self._ingress, rate)

    def leave(self, nbytes: int, lane: Lane, factor: float = 1.0) -> float:
        """Reserve egress from now, for `factor` times as long; return when the bytes have left."""
        return self._egress.leave(_now(), self._size(nbytes, factor), lane)

    def arrive(self, nbytes: int, lane: Lane, factor: float = 1.0) -> float:
        """Reserve ingress for bytes that are here now; return when they may be seen."""
        return self._ingress.arrive(_now(), self._size(nbytes, factor), lane)

    def _size(self, nbytes: int, factor: float) -> int:
        return round((nbytes + round(self._overhead)) * factor)


def _successor(port: Port, rate: float) -> Port:
    """A port of `rate` that is free when `port` would have been."""
    successor = Port(rate)
    successor.arrive(port.leave(0.0, 0, Lane.BULK), 0, Lane.BULK)
    return successor


def _now() -> float:
    return asyncio.get_running_loop().time()
