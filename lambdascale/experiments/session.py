"""One run on given leaves: listen, start the fleet, let the controller work, leave nothing behind."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import RunLog
from lambdascale.config import SystemSpec
from lambdascale.control.base import Control
from lambdascale.experiments.reaper import Deaths, Reaper
from lambdascale.fleet.base import AgentSpec, Fleet
from lambdascale.workload.request import Request

Work = Callable[[Controller], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Session:
    """All that a run is, apart from its leaves: what is deployed where, and what is asked of it."""

    system: SystemSpec
    cluster: ClusterSpec
    deployments: tuple[Deployment, ...]
    requests: Sequence[Request]
    agents: tuple[AgentSpec, ...]  # without the controller's address
    deaths: Deaths = ()

    def controller(self, members: Members, log: RunLog) -> Controller:
        """Return the controller of these agents."""
        return Controller(self.system, self.cluster, self.deployments, members, log)

    async def run(
        self, control: Control, fleet: Fleet, log: RunLog, work: Work | None = None
    ) -> None:
        """Run to the end; whatever happens, the fleet is gone afterwards.

        `work` is what to do with the controller, if not to serve the requests of this session.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(fleet.close)
            listener = await control.listen()
            stack.push_async_callback(listener.close)
            members = Members(listener, fleet, self.cluster.num_nodes)
            stack.push_async_callback(members.close)
            controller = self.controller(members, log)
            log.show(stack.enter_context(Reaper(fleet, self.deaths)))
            try:
                agents = tuple(agent.at(listener.address) for agent in self.agents)
                await fleet.start(agents)
                await (work(controller) if work else controller.run(self.requests))
            except BaseException:
                await fleet.close()  # first of all: agents have nobody to complain to any more
                raise
