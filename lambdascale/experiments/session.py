"""One run on given leaves: listen, start the fleet, let the controller work, leave nothing behind."""

from contextlib import AsyncExitStack

from lambdascale.cluster.controller import Controller
from lambdascale.cluster.members import Members
from lambdascale.cluster.records import RunLog
from lambdascale.control.base import Control
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.base import AgentSpec, Fleet


async def session(
    spec: RunSpec, inputs: Inputs, control: Control, fleet: Fleet, log: RunLog
) -> None:
    """Run `spec` to its end; whatever happens, the fleet is gone afterwards."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(fleet.close)
        listener = await control.listen()
        stack.push_async_callback(listener.close)
        members = Members(listener, fleet, spec.scale.num_nodes)
        stack.push_async_callback(members.close)
        controller = Controller(spec.system, spec.scale, inputs.image, members, log)
        try:
            await fleet.start(_agents(spec, listener.address))
            await controller.run(inputs.requests)
        except BaseException:
            await fleet.close()  # first of all: agents have nobody to complain to any more
            raise


def _agents(spec: RunSpec, controller: str) -> tuple[AgentSpec, ...]:
    return tuple(
        AgentSpec(node, controller, spec.transport, spec.rate, spec.device)
        for node in range(spec.scale.num_nodes)
    )
