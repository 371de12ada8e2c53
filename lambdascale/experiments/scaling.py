"""A `RunSpec` as a session: one model on k of N nodes, which is wanted on all of them from the start."""

from lambdascale.cluster.deployment import ClusterSpec, Deployment
from lambdascale.engine.base import EngineLimits
from lambdascale.experiments.inputs import Inputs
from lambdascale.experiments.session import Session
from lambdascale.experiments.spec import RunSpec, pace_of
from lambdascale.fleet.base import AgentSpec
from lambdascale.policy import ScalingPolicy
from lambdascale.storage.arena import whole_pages
from lambdascale.storage.tiers import Capacity, Tier


def scale_out(spec: RunSpec, inputs: Inputs) -> Session:
    """Return the session of one scale-out from the first `num_sources` nodes to all."""
    scale, image = spec.scale, inputs.image
    room, rate = whole_pages(image.layout.nbytes), spec.system.link_rate(spec.rate)
    cluster = ClusterSpec(
        scale.num_nodes,
        Capacity(gpu=room, host=0, ssd=room),
        scale.timeout_s,
        link_rate=rate,
        device=spec.device,
        decision_s=spec.conditions.decision_s,
        set_up=spec.conditions.set_up,
    )
    max_length = min(scale.max_length, image.shape.context_length)
    deployment = Deployment(
        spec.model,
        image,
        EngineLimits(scale.max_slots, max_length, scale.max_step_tokens),
        ScalingPolicy("fixed", min_instances=scale.num_nodes),
        initial=dict.fromkeys(range(scale.num_sources), Tier.GPU),
        in_flight=scale.in_flight,
    )
    pace = pace_of(spec.clock, spec.link, spec.rate, rate)
    agents = tuple(AgentSpec(node, "", spec.transport, pace, spec.device) for node in cluster.nodes)
    deaths = spec.conditions.deaths
    return Session(spec.system, cluster, (deployment,), inputs.requests, agents, deaths)
