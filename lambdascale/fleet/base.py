"""The fleet: starts, watches and kills agents.

Bodies: `fleet.local` (subprocesses), `fleet.ray` (an existing cluster); the simulated one lives in `sim`.
"""

import math
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.transport.base import LOOPBACK


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent is: node name, its controller, transport, rates (bytes/s), device floor.

    `rate` is that of its network link; a rate of inf imposes nothing. `ssd` is a folder for images
    that are stored on its SSD later; whoever starts the agents removes it. `host` is the address of the
    interface that it listens on. Without its controller it keeps what it holds for `lease_s` seconds.
    """

    node: int
    controller: str
    transport: str
    rate: float
    floor: DeviceModel | None
    ssd_rate: float = math.inf
    pcie_rate: float = math.inf
    ssd: str = ""
    host: str = LOOPBACK
    lease_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.lease_s >= 0:
            raise ConfigError(f"lease_s is {self.lease_s}; give seconds, 0 or more")

    def at(self, controller: str) -> "AgentSpec":
        """Return the same for the controller at an address."""
        return replace(self, controller=controller)


class Fleet(Protocol):
    """A set of agents that live no longer than this object."""

    async def start(self, agents: tuple[AgentSpec, ...]) -> None:
        """Start those of the agents that do not run; each then connects to its controller by itself."""
        ...

    async def restart(self, node: int) -> None:
        """Start the agent of a node again, if it has ended and can be; it has what is on its SSD.

        Raises LambdaScaleError if no agent can be started any more.
        """
        ...

    async def died(self) -> int:
        """Wait until another agent has ended, however, and return its node."""
        ...

    async def kill(self, node: int) -> None:
        """Kill an agent without warning (SIGKILL)."""
        ...

    async def close(self) -> None:
        """Kill whatever is left and wait for it. Idempotent."""
        ...


class Site(Protocol):
    """Where agents can be started at once: a context manager, of one fleet after the other.

    `host` is the address at which agents of this site reach the controller.
    """

    @property
    def host(self) -> str: ...
    def fleet(self, secret: bytes, entry: str) -> Fleet:
        """Return a fleet of agents that run `entry` (module:function of one encoded assignment)."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None: ...
