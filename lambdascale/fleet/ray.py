"""The Ray fleet: agents on the nodes of an existing Ray cluster, each kept by an actor there.

Ray places the keepers, watches them, and ends them with the driver; the agents' messages and bytes are ours
alone. Importing this needs no `ray`; entering a `RaySite` does.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from lambdascale.clock import deadline
from lambdascale.errors import ConfigError, DeadlineError
from lambdascale.fleet.base import AgentSpec
from lambdascale.fleet.connection import actors, answers, ask, connected, end, in_order, reserved
from lambdascale.fleet.nursery import END_S
from lambdascale.fleet.placement import Placement


class RayFleet:
    """One agent per keeper; node n is kept by the nth. `hosts` are their addresses."""

    def __init__(
        self, keepers: Sequence[Any], hosts: Sequence[str], secret: bytes, entry: str
    ) -> None:
        self._keepers = keepers
        self._hosts = hosts
        self._secret = secret
        self._entry = entry
        self._agents: dict[int, AgentSpec] = {}
        self._watches: dict[int, asyncio.Task[None]] = {}
        self._ended: asyncio.Queue[int] = asyncio.Queue()

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        if len(agents) > len(self._keepers):
            raise ConfigError(
                f"the cluster has {len(self._keepers)} agents, but {len(agents)} are wanted; lower nodes, "
                "or raise `nodes` or `per_node` in the cluster file"
            )
        while not self._ended.empty():  # who died before is to live again
            self._ended.get_nowait()
        placed = {a.node: replace(a, host=self._hosts[a.node]) for a in agents}
        self._agents |= placed
        await self._start(node for node in placed if not self._runs(node))

    async def restart(self, node: int) -> None:
        """As above; a keeper that is gone, like the machine it was on, starts none."""
        if not self._runs(node):
            await self._start((node,))

    async def _start(self, nodes: Iterable[int]) -> None:
        agents = [self._agents[node] for node in nodes]
        calls = (self._keepers[a.node].start.remote(a, self._secret, self._entry) for a in agents)
        await answers([*calls])  # or what follows could overtake it
        for agent in agents:
            self._watches[agent.node] = asyncio.create_task(self._watch(agent.node))

    def _runs(self, node: int) -> bool:
        return node in self._watches and not self._watches[node].done()

    async def _watch(self, node: int) -> None:
        """Wait for the end of an agent; a keeper that is gone took it along."""
        await answers([self._keepers[node].died.remote()])
        self._ended.put_nowait(node)

    async def died(self) -> int:
        return await self._ended.get()

    async def kill(self, node: int) -> None:
        if node in self._agents:
            self._keepers[node].kill.remote(node)

    async def close(self) -> None:
        closing = [self._keepers[node].close.remote() for node in self._agents]
        try:
            async with deadline(END_S, "the end of all agents"):
                await answers(closing)
                await asyncio.gather(*self._watches.values())
        except (DeadlineError, asyncio.CancelledError):
            end(self._keepers)
            raise
        self._agents.clear()


class RaySite:
    """The agents of `placement` on a Ray cluster; `preload` names what their nurseries import."""

    def __init__(self, placement: Placement, preload: tuple[str, ...] = ()) -> None:
        self._placement = placement
        self._preload = preload
        self._keepers: list[Any] = []
        self.hosts: list[str] = []
        self.host = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.host = stack.enter_context(connected(self._placement))
            group = stack.enter_context(reserved(self._placement))
            stack.callback(lambda: end(self._keepers))
            self._keepers = self._start(group)
            network = self._placement.network
            hosts = ask([keeper.address.remote(network) for keeper in self._keepers])
            self._keepers, self.hosts = in_order(self._keepers, hosts)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, group: Any) -> list[Any]:
        from lambdascale.fleet.keeper import Keeper

        where = self._placement
        return actors(where, group, Keeper, self._preload, where.environment)

    def fleet(self, secret: bytes, entry: str) -> RayFleet:
        """Return a fleet on the agents' places; each ends before the next is started."""
        return RayFleet(self._keepers, self.hosts, secret, entry)
