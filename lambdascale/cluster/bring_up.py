"""Bringing a cluster up, before time counts: agents, arenas and engines, links, initial copies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lambdascale.cluster.deployment import ClusterSpec
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import ReturnRecord, RunLog
from lambdascale.cluster.reporter import COALESCE_S
from lambdascale.cluster.service import Service
from lambdascale.cluster.stock import Stock
from lambdascale.config import SystemSpec
from lambdascale.control import messages as m
from lambdascale.errors import ConfigError, PeerGoneError
from lambdascale.storage.tiers import Tier

PREPARE_S = 180.0
CONNECT_S = 30.0
MAX_LANES = 16  # more micro-batches are never in flight in one pipeline
BRING_UP = -1  # the token of links that no scale-out has asked for


async def bring_up(
    prepare: m.Prepare,
    cluster: ClusterSpec,
    services: Mapping[str, Service],
    stock: Stock,
    members: Members,
    log: RunLog,
) -> None:
    """Wait until every agent is up and prepared and holds its initial copies; take over what agents hold.

    Raises PeerGoneError if one ends meanwhile.
    """
    with _all_alive():
        await members.join()
        log.phase("agents up")
        members.tell(cluster.nodes, prepare)
        found = await _take_over(stock, members, log)
        await _fill(services, stock, members, found)
        log.phase("prepared")
        if cluster.preconnect and cluster.num_nodes > 1:
            await _connect(cluster, members)
        log.phase("connected")


async def _take_over(stock: Stock, members: Members, log: RunLog) -> bool:
    """Note what agents hold of an earlier controller; was anything in their memory?"""
    found = False
    for message in await members.gather(m.Prepared, "the preparation of all nodes", PREPARE_S):
        stock.find(message.node, message.held)
        if message.held:
            log.add(ReturnRecord(message.node, message.num_blocks, log.since()))
        found |= any(held.tier is not Tier.SSD for held in message.held)
    return found


@contextmanager
def _all_alive() -> Iterator[None]:
    """Whatever an agent was doing when it ended: say that the cluster cannot start without it."""
    try:
        yield
    except PeerGoneError as error:
        why = "the agent ended while the cluster was starting; see its output, then start again"
        raise PeerGoneError(error.peer, why) from error


def preparation(
    system: SystemSpec, cluster: ClusterSpec, services: Mapping[str, Service]
) -> m.Prepare:
    """Return what every agent is to get ready."""
    deployments = [service.deployment for service in services.values()]
    hosted = tuple(m.Hosted(d.model, d.image, d.limits) for d in deployments)
    capacity, lanes = cluster.capacity, min(cluster.num_nodes, MAX_LANES)
    report_s = system.message_s if system.barrier else COALESCE_S
    return m.Prepare(hosted, capacity.gpu, capacity.host, lanes, report_s)


async def _fill(
    services: Mapping[str, Service], stock: Stock, members: Members, found: bool
) -> None:
    """Load what lies in memory from the start, and is not there from an earlier controller."""
    missing: set[tuple[int, Tier, str]] = set()
    for service in services.values():
        for node, tier in sorted(service.deployment.initial.items()):
            if tier is Tier.SSD:
                continue  # it lies there
            if node in stock.holders(service.model, tier):
                continue  # it was found there
            if not stock.make_room(node, tier, service.model):
                if found and stock.exists(service.model):
                    continue  # what was found takes the room
                raise ConfigError(
                    f"the initial copies of {service.model} and others do not fit into the "
                    f"{tier.name} tier of node {node}; give it more bytes"
                )
            for member in stock.slices[service.model].nodes(node):
                lacking = stock.lacking(member, tier, service.model)
                members.send(member, m.Load(service.model, Tier.SSD, tier, lacking))
                missing.add((member, tier, service.model))
    while missing:
        message = await members.receive()
        if isinstance(message, m.Coverage):
            arrived = (arrival.block for arrival in message.arrivals)
            if stock.arrived(message.node, message.tier, message.model, arrived):
                missing.discard((message.node, message.tier, message.model))


async def _connect(cluster: ClusterSpec, members: Members) -> None:
    for node in cluster.nodes:
        others = tuple(other for other in cluster.nodes if other != node)
        members.send(node, m.Connect(BRING_UP, members.addresses, others, others))
    await members.gather(m.Connected, "the connection of all nodes", CONNECT_S)
