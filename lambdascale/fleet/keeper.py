"""What stands on a node of a Ray cluster for one agent: a nursery, and the agent as its child.

A Ray actor, so Ray places it, watches it and ends it with the driver, however that ends; the nursery ends
with the actor, and the agent with the nursery. Only starts, kills and deaths pass through it.
"""

import contextlib
import shutil
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.fleet.addresses import node_address
from lambdascale.fleet.base import AgentSpec
from lambdascale.fleet.local import LocalFleet, LocalSite


class Keeper:
    """Keeps one agent after the other; made long before the first, so that imports are over by then."""

    def __init__(self, preload: tuple[str, ...], environment: dict[str, str]) -> None:
        self._site = LocalSite(preload, environment)
        self._fleet: LocalFleet | None = None
        self._folder: Path | None = None

    async def address(self, network: str) -> str:
        """Return the address of this node in `network`; the one that Ray knows if that is empty."""
        return node_address(network)

    async def start(self, agent: AgentSpec, secret: bytes, entry: str) -> None:
        """Start an agent; its predecessor has ended."""
        self._fleet = self._site.fleet(secret, entry)
        self._folder = Path(agent.ssd) if agent.ssd else None
        await self._fleet.start((agent,))

    async def died(self) -> int:
        """Wait until the agent ends and return its node."""
        return await self._started().died()

    async def kill(self, node: int) -> None:
        """Kill the agent without warning."""
        await self._started().kill(node)

    async def close(self) -> None:
        """Kill the agent if it lives, wait for it, and remove what it left on the SSD."""
        if self._fleet:
            await self._fleet.close()
        if self._folder and self._folder.exists():
            shutil.rmtree(self._folder)
            with contextlib.suppress(OSError):  # agents of other keepers have folders beside it
                self._folder.parent.rmdir()

    def _started(self) -> LocalFleet:
        if self._fleet is None:
            raise ConfigError("this keeper was never given an agent; start one first")
        return self._fleet
