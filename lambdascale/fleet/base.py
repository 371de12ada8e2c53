"""The fleet: starts, watches and kills agents.

Bodies: `fleet.local` (subprocesses); the simulated one lives in `sim`; `ray` comes with the cluster.
"""

from dataclasses import dataclass
from typing import Protocol

from lambdascale.engine.device import DeviceModel


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent is: node name, its controller, transport, link rate (bytes/s), device floor."""

    node: int
    controller: str
    transport: str
    rate: float
    floor: DeviceModel | None


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
