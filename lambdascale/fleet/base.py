"""The fleet: starts, watches and kills agents.

Bodies: `fleet.local` (subprocesses); the simulated one lives in `sim`; `ray` comes with the cluster.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol

from lambdascale.engine.device import DeviceModel


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent is: node name, its controller, transport, rates (bytes/s), device floor.

    `rate` is that of its network link; a rate of inf imposes nothing. `ssd` is a folder for images
    that are stored on its SSD later; whoever starts the agents removes it. `host` is the address of the
    interface that it listens on.
    """

    node: int
    controller: str
    transport: str
    rate: float
    floor: DeviceModel | None
    ssd_rate: float = math.inf
    pcie_rate: float = math.inf
    ssd: str = ""
    host: str = "127.0.0.1"

    def at(self, controller: str) -> "AgentSpec":
        """Return the same for the controller at an address."""
        return replace(self, controller=controller)


class Fleet(Protocol):
    """A set of agents that live no longer than this object."""

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        """Start the agents; each then connects to its controller by itself."""
        ...

    async def died(self) -> int:
        """Wait until an agent ends on its own and return its node."""
        ...

    async def kill(self, node: int) -> None:
        """Kill an agent without warning (SIGKILL)."""
        ...

    async def close(self) -> None:
        """Kill whatever is left and wait for it. Idempotent."""
        ...
