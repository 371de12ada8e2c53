"""Hosts with several GPUs behind one NIC: each block crosses the network once per host (paper.md c.9).

A block lands on the GPU next to the NIC, in a small ring of slots, and goes on over the host's own links
while the next one arrives; from the ring it is also sent on to other hosts. Two cases:

    replicas   every GPU wants the whole model: landing GPU → second → third → …, block by block
    spread     each GPU keeps a slice of consecutive blocks: landing GPU → owner; at a source host the
               blocks of the other GPUs come to the landing GPU first, just before they are sent

Who sends to which *host* is any `Schedule`, with hosts in the place of nodes. How long it takes, and which to
take: `host_timing`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from lambdascale.errors import ConfigError
from lambdascale.multicast.costs import LinkCost
from lambdascale.multicast.schedule import Schedule, Transfer

Arrivals = tuple[
    dict[int, float], ...
]  # per node: block → seconds, for the blocks that it is to keep


@dataclass(frozen=True, slots=True)
class Topology:
    """The nodes of each host, the one next to the NIC first; what a write costs on a NIC and inside."""

    hosts: tuple[tuple[int, ...], ...]
    network: LinkCost
    local: LinkCost

    def __post_init__(self) -> None:
        nodes = sorted(node for host in self.hosts for node in host)
        if not all(self.hosts) or nodes != list(range(len(nodes))):
            raise ConfigError(
                f"hosts is {self.hosts}; name every node from 0 on once, and give each host one"
            )

    @classmethod
    def uniform(
        cls, num_hosts: int, nodes_per_host: int, network: LinkCost, local: LinkCost
    ) -> "Topology":
        """Return hosts of equally many nodes, numbered host by host."""
        starts = range(0, num_hosts * nodes_per_host, nodes_per_host)
        hosts = tuple(tuple(range(start, start + nodes_per_host)) for start in starts)
        return cls(hosts, network, local)

    @property
    def num_nodes(self) -> int:
        return sum(map(len, self.hosts))


@dataclass(frozen=True, slots=True)
class HostSchedule:
    """What every GPU sends: `network` is the schedule of hosts; `transfers` are the nodes', in tick order.

    In a tick a host sends and receives one block on its NIC, and each node one on its local port.
    """

    topology: Topology
    network: Schedule
    spread: bool
    transfers: tuple[Transfer, ...]

    def keeps(self, host: int, position: int) -> range:
        """Return the blocks that the node at `position` of `host` is to keep."""
        b, num_nodes = self.network.num_blocks, len(self.topology.hosts[host])
        if not self.spread:
            return range(b)
        return range(b * position // num_nodes, b * (position + 1) // num_nodes)

    @property
    def ring_slots(self) -> int:
        """The most blocks that a landing GPU holds in one tick only to pass them on."""
        return max(map(self._slots, range(len(self.topology.hosts))))

    def _slots(self, host: int) -> int:
        landing, kept = self.topology.hosts[host][0], self.keeps(host, 0)
        came = {t.block: t.tick for t in self.transfers if t.dst == landing and t.block not in kept}
        last = {t.block: t.tick for t in self.transfers if t.src == landing}
        changes = Counter(came.values())
        changes.subtract(last[block] + 1 for block in came)
        return max(accumulate(changes[tick] for tick in sorted(changes)), default=0)


def host_schedule(topology: Topology, network: Schedule, spread: bool = False) -> HostSchedule:
    """Return the transfers of all nodes for a schedule of hosts, whose sources are hosts 0 … k − 1.

    The first node of a source host holds the model, or, with `spread`, each of its nodes its slice. Raises
    ConfigError if the schedule is not one of these hosts or there are fewer blocks than GPUs to share them.

    >>> from lambdascale.multicast.plan import plan
    >>> topology = Topology.uniform(2, 2, LinkCost(0.0, 0.0, 1.0), LinkCost(0.0, 0.0, 1.0))
    >>> for tick, src, dst, block in host_schedule(topology, plan("chain", 2, 1, 1)).transfers:
    ...     print(f"tick {tick}: {src} -> {dst} block {block}")
    tick 1: 0 -> 2 block 0
    tick 1: 0 -> 1 block 0
    tick 2: 2 -> 3 block 0
    """
    if network.num_nodes != len(topology.hosts):
        raise ConfigError(
            f"the schedule has {network.num_nodes} nodes; it must have one per host "
            f"({len(topology.hosts)})"
        )
    most = max(map(len, topology.hosts))
    if spread and network.num_blocks < most:
        raise ConfigError(
            f"blocks is {network.num_blocks}; use at least one per GPU of a host ({most})"
        )
    transfers = [
        Transfer(tick + spread, topology.hosts[src][0], topology.hosts[dst][0], block)
        for tick, src, dst, block in network.transfers  # a tick later if blocks are fetched first
    ]
    for host, nodes in enumerate(topology.hosts):
        if spread and host < network.num_sources:
            transfers += _fetches(network, host, nodes)
        else:
            transfers += _fan_out(network, host, nodes, spread)
    transfers.sort(key=lambda transfer: transfer.tick)
    return HostSchedule(topology, network, spread, tuple(transfers))


def _fetches(network: Schedule, host: int, nodes: Sequence[int]) -> Iterator[Transfer]:
    """Bring each block to the landing GPU in the tick before its first send."""
    for block, tick in first_sends(network, host).items():
        for src, dst in route(nodes, block, network.num_blocks, spread=True):
            yield Transfer(tick, dst, src, block)


def first_sends(network: Schedule, host: int) -> dict[int, int]:
    """Return block → the tick in which `host` first sends it, in that order."""
    first: dict[int, int] = {}
    for transfer in network.sends_of(host):
        first.setdefault(transfer.block, transfer.tick)
    return first


def _fan_out(
    network: Schedule, host: int, nodes: Sequence[int], spread: bool
) -> Iterator[Transfer]:
    """Pass each block on from the landing GPU in the tick after it came, or in the next free one."""
    landed = [(t.tick + spread, t.block) for t in network.receives_of(host)]
    if host < network.num_sources:
        landed = [(0, block) for block in range(network.num_blocks)]
    busy_until = 0
    for tick, block in landed:
        links = route(nodes, block, network.num_blocks, spread)
        if links:
            busy_until = max(busy_until, tick) + 1
        for hop, (src, dst) in enumerate(links):
            yield Transfer(busy_until + hop, src, dst, block)


def route(nodes: Sequence[int], block: int, num_blocks: int, spread: bool) -> list[tuple[int, int]]:
    """Return the local links that `block` takes from the landing GPU."""
    if not spread:
        return list(pairwise(nodes))
    owner = ((block + 1) * len(nodes) - 1) // num_blocks
    return [(nodes[0], nodes[owner])] if owner else []
