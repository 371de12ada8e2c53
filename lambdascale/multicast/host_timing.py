"""When every GPU of every host has what it is to keep, and which schedule of hosts is done first."""

from lambdascale.multicast.choose import MAX_BLOCKS, choose
from lambdascale.multicast.costs import WINDOW, predicted_times
from lambdascale.multicast.hosts import (
    HostSchedule,
    Topology,
    first_sends,
    host_schedule,
    route,
)
from lambdascale.multicast.plan import plan
from lambdascale.multicast.search import block_counts

Arrivals = tuple[
    dict[int, float], ...
]  # per node: block → seconds, for the blocks that it is to keep


def choose_hosts(
    topology: Topology,
    num_sources: int,
    image_nbytes: float,
    spread: bool = False,
    max_blocks: int = MAX_BLOCKS,
) -> HostSchedule:
    """Return the schedule that ends first: the algorithm is chosen for the network, the block count for both.

    Raises ConfigError for a request that cannot work.
    """
    num_hosts = len(topology.hosts)
    chosen = choose(num_hosts, num_sources, image_nbytes, topology.network, max_blocks=max_blocks)
    fewest = max(num_sources, *map(len, topology.hosts)) if spread else num_sources
    tried = (
        host_schedule(
            topology, plan(chosen.schedule.algorithm, num_hosts, num_sources, num_blocks), spread
        )
        for num_blocks in block_counts(fewest, max(fewest, max_blocks))
    )
    return min(tried, key=lambda schedule: host_seconds(schedule, image_nbytes))


def host_times(
    schedule: HostSchedule, image_nbytes: float, window: int = WINDOW, barrier: bool = False
) -> Arrivals:
    """Return, per node, when each block that it is to keep arrives (0.0: held from the start).

    A NIC and a local port do not slow each other down. Sources that must fetch blocks start late enough for
    every one to be there in time, so the result errs on the late side.

    >>> from lambdascale.multicast.costs import LinkCost
    >>> topology = Topology.uniform(2, 2, LinkCost(0.0, 0.0, 1.0), LinkCost(0.0, 0.0, 1.0))
    >>> host_times(host_schedule(topology, plan("chain", 2, 1, 1)), image_nbytes=1.0)
    ({0: 0.0}, {0: 1.0}, {0: 1.0}, {0: 2.0})
    """
    topology, network = schedule.topology, schedule.network
    landed = predicted_times(network, image_nbytes, topology.network, barrier, window)
    late = _fetch_delay(schedule, image_nbytes / network.num_blocks)
    arrivals: list[dict[int, float]] = [{} for _ in range(topology.num_nodes)]
    for host, nodes in enumerate(topology.hosts):
        source = host < network.num_sources
        for position, node in enumerate(nodes):
            if source and (schedule.spread or not position):
                arrivals[node] = dict.fromkeys(schedule.keeps(host, position), 0.0)
        if not (source and schedule.spread):
            came = {block: at + late * (not source) for block, at in enumerate(landed[host])}
            _pass_on(schedule, host, came, image_nbytes / network.num_blocks, arrivals)
    return tuple(arrivals)


def host_seconds(
    schedule: HostSchedule, image_nbytes: float, window: int = WINDOW, barrier: bool = False
) -> float:
    """Return the seconds after which every node holds what it is to keep."""
    times = host_times(schedule, image_nbytes, window, barrier)
    return max(at for node in times for at in node.values())


def _fetch_delay(schedule: HostSchedule, block_nbytes: float) -> float:
    """Return how much later sources must start for each block to be fetched before its first send."""
    topology, network = schedule.topology, schedule.network
    if not schedule.spread:
        return 0.0
    write_s, fetch_s = topology.network.busy_s(block_nbytes), topology.local.busy_s(block_nbytes)
    delay = 0.0
    for host in range(network.num_sources):
        fetched = 0
        for index, block in enumerate(first_sends(network, host)):
            if block not in schedule.keeps(host, 0):
                fetched += 1
                here = fetched * fetch_s + topology.local.latency_s
                delay = max(delay, here - index * write_s)
    return delay


def _pass_on(
    schedule: HostSchedule,
    host: int,
    came: dict[int, float],
    block_nbytes: float,
    arrivals: list[dict[int, float]],
) -> None:
    """Follow each block of one host from port to port, in the order in which they come."""
    nodes, local = schedule.topology.hosts[host], schedule.topology.local
    busy_s = local.busy_s(block_nbytes)
    egress, ingress = dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0.0)
    kept = schedule.keeps(host, 0)
    for block, at in sorted(came.items(), key=lambda item: item[1]):
        if block in kept:
            arrivals[nodes[0]].setdefault(block, at)
        for src, dst in route(nodes, block, len(came), schedule.spread):
            egress[src] = max(egress[src], at) + busy_s
            at = ingress[dst] = max(ingress[dst] + busy_s, egress[src] + local.latency_s)
            arrivals[dst][block] = at
