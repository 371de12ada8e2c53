"""A system as experiments use it: its specification, its policy, its block count, and what it stands for."""

from dataclasses import dataclass, replace
from typing import Literal

from lambdascale.config import SystemSpec
from lambdascale.experiments.spec import RunSpec
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.packed import PackedModel
from lambdascale.multicast.block_count import fewest_blocks
from lambdascale.multicast.costs import LinkCost
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.models import simulated_model

Blocks = int | Literal["layers", "chosen"]


@dataclass(frozen=True, slots=True)
class System:
    """A system, the policy it is used with, and where its definition comes from.

    `blocks` of a model: a number, one per layer, or as few as are nearly fastest.
    """

    spec: SystemSpec
    policy: ScalingPolicy
    blocks: Blocks
    about: str
    source: str

    def scale_out(self, spec: RunSpec, cost: LinkCost | None = None) -> RunSpec:
        """Return the scale-out `spec` under this system; `cost` is that of its links, if known."""
        scale, packed = spec.scale, simulated_model(spec.model, spec.dtype)
        cost = cost or _cost(spec.conditions, spec.rate)
        blocks = self.num_blocks(packed, scale.num_nodes, scale.num_sources, cost)
        return replace(
            spec,
            system=self.spec,
            scale=replace(scale, num_blocks=blocks),
            conditions=self._conditions(spec.conditions),
            label=self.spec.name,
        )

    def trace(self, spec: TraceSpec, cost: LinkCost | None = None) -> TraceSpec:
        """Return the trace run `spec` under this system and its policy; as `scale_out`."""
        cost = cost or _cost(spec.conditions, spec.rate("link_gbps"))
        packed = simulated_model(spec.models[0], spec.dtype)
        blocks = self.num_blocks(packed, spec.num_nodes, 1, cost)
        return replace(
            spec,
            system=self.spec,
            policy=replace(self.policy, per_instance=spec.policy.per_instance),
            num_blocks=blocks,
            conditions=self._conditions(spec.conditions),
            label=self.spec.name,
        )

    def num_blocks(
        self, packed: PackedModel, num_nodes: int, num_sources: int, cost: LinkCost
    ) -> int:
        """Return into how many blocks this system cuts a model to bring it to `num_nodes` nodes."""
        if isinstance(self.blocks, int):
            return self.blocks
        if self.blocks == "layers":
            return packed.shape.num_layers
        return fewest_blocks(
            self.spec.algorithm,
            num_nodes,
            num_sources,
            packed.layout.nbytes,
            cost,
            self.spec.window,
        )

    def _conditions(self, conditions: Conditions) -> Conditions:
        """Where loads take no time, neither does what belongs to them."""
        if not self.spec.instant:
            return conditions
        return replace(conditions, occupancy_s=0.0, connect_s=0.0, register_s=0.0)


def _cost(conditions: Conditions, rate: float) -> LinkCost:
    return LinkCost(conditions.occupancy_s, conditions.latency_s, rate)
