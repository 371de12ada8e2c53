"""One run on given leaves: listen, start the fleet, let the controller work, leave nothing behind."""

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
    listener = await control.listen()
    members = Members(listener, fleet, spec.scale.num_nodes)
    try:
        controller = Controller(spec.system, spec.scale, inputs.image, members, log)
        await fleet.start(_agents(spec, listener.address))
        await controller.run(inputs.requests)
    finally:
        await members.close()
        await listener.close()
        await fleet.close()


def _agents(spec: RunSpec, controller: str) -> tuple[AgentSpec, ...]:
    return tuple(
        AgentSpec(node, controller, spec.transport, spec.rate, spec.device)
        for node in range(spec.scale.num_nodes)
    )
