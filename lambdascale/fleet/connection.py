"""Everything that is said to Ray: connect, reserve places, start keepers there, ask them, end them.

Errors of Ray come out as ours, in one line that says what to install, start or free.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.fleet.addresses import node_address
from lambdascale.fleet.placement import AUTO, Placement

REACH_S = 5.0  # to reach the head node
ROOM_S = 15.0  # for what has just been given back to be free again
PLACE_S = 60.0  # Ray starts a Python process per agent, on few cores
START = "start one with `ray start --head` on one node and `ray start --address=…` on the others"


@contextmanager
def connected(placement: Placement) -> Iterator[str]:
    """Be a driver of the cluster; yield the address at which its nodes reach this one."""
    ray = _ray()
    _check_reachable(placement.ray)
    if ray.is_initialized():
        raise ConfigError("this process is connected to a Ray cluster already; call ray.shutdown()")
    try:
        with _signals_kept():
            ray.init(address=placement.ray, logging_level="warning", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"no Ray cluster at {placement.ray} ({cause(error)}); {START}") from error
    try:
        yield node_address(placement.network)
    finally:
        with _signals_kept():
            ray.shutdown()


@contextmanager
def reserved(placement: Placement) -> Iterator[Any]:
    """Reserve room for all agents, on nodes of their own; ConfigError if the cluster has not enough."""
    from ray.util.placement_group import placement_group, remove_placement_group

    group = placement_group(placement.bundles, strategy="STRICT_SPREAD")
    try:
        if not group.wait(ROOM_S):
            raise ConfigError(_no_room(placement))
        yield group
    finally:
        remove_placement_group(group)


def _no_room(placement: Placement) -> str:
    ray = _ray()
    alive = [node for node in ray.nodes() if node["Alive"]]
    room = ", ".join(f"{name} {count:g}" for name, count in sorted(ray.available_resources().items())
                     if name in ("CPU", "GPU"))  # fmt: skip
    each = " and ".join(f"{count} {name}" for name, count in placement.bundles[0].items())
    return (
        f"the Ray cluster has no room for {placement.nodes} nodes with {each} each: {len(alive)} nodes are "
        f"alive, free {room or 'nothing'}; lower nodes, per_node or gpus, or end what runs there"
    )


def actors(placement: Placement, group: Any, kind: type, *arguments: Any) -> list[Any]:
    """Start an actor per agent, those of one node one after the other."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    actor = _ray().remote(kind)
    made = []
    for number in range(placement.num_agents):
        where = PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=number // placement.per_node
        )
        options = actor.options(num_cpus=1, num_gpus=placement.gpus, scheduling_strategy=where)
        made.append(options.remote(*arguments))
    return made


def ask(calls: Sequence[Any]) -> list[Any]:
    """Return the answers to calls of actors that have just been started.

    ConfigError if a node cannot run them, or says that it is set up wrongly.
    """
    from ray.exceptions import GetTimeoutError, RayError

    try:
        found: list[Any] = _ray().get(list(calls), timeout=PLACE_S)
    except GetTimeoutError as error:
        raise DeadlineError(f"the places of agents took over {PLACE_S:.0f} s to start") from error
    except RayError as error:
        raise ConfigError(
            f"a node of the cluster cannot run agents ({cause(error)}); install the same λScale in the "
            "Python that Ray uses there, and see the cluster file"
        ) from error
    return found


def in_order(started: Sequence[Any], hosts: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Return actors and the addresses of their nodes in the order of these, as Ray has none."""
    pairs = sorted(zip(started, hosts, strict=True), key=lambda pair: ip_address(pair[1]))
    return [actor for actor, _ in pairs], [host for _, host in pairs]


async def answers(asked: Sequence[Awaitable[Any]]) -> None:
    """Wait for answers of keepers; one that is gone gives none. Raises what another one raised."""
    from ray.exceptions import RayActorError

    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, BaseException) and not isinstance(answer, RayActorError):
            raise answer


def end(started: Sequence[Any]) -> None:
    """Kill actors, and with keepers their nurseries and agents."""
    for actor in started:
        _ray().kill(actor)


def cause(error: BaseException) -> str:
    """Return the last line of what an error says, where Ray puts the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "a cluster needs Ray, which is not installed; pip install 'lambdascale[cluster]'"
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself would try for a minute."""
    if address == AUTO:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        raise ConfigError(f"nobody answers at the Ray head {address} ({error}); {START}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts a handler of its own in place of whoever handles SIGTERM here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
