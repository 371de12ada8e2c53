"""How many instances of a model are wanted, from what is seen of it at one moment (paper.md d.4).

Every policy is a pure function of a `ScalingPolicy` and an `Observation`. What a model gets when models
compete for nodes is decided by `shares`, which nodes those are by `placement`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lambdascale.cluster.forecast import forecast_demand, forecast_rate, window_s
from lambdascale.errors import ConfigError
from lambdascale.policy import ScalingPolicy

ROUNDING = 1e-9  # 3 ÷ (0.3 × 10) is a little more than 1; a timer may fire a little early
MIN_RECHECK_S = 1e-3  # two looks at the same moment would see the same


@dataclass(frozen=True, slots=True)
class Observation:
    """One model at the moment `now`; seconds are on the caller's clock.

    `num_instances` are assigned (loading or ready) and not draining, `num_ready` of them ready.
    `idle_for_s` has an entry for each instance that serves nothing: since when, in seconds. `arrivals`
    ascend and reach back at least `history_s`. `scale_out_s` is how long a scale-out begun now would
    take, `service_s` how long a request holds a slot on average. `scaling`: a scale-out is running;
    `num_scale_outs` have begun in which anything had to be loaded. Raises ConfigError.
    """

    now: float
    num_waiting: int
    num_serving: int
    num_instances: int
    num_ready: int
    slots_per_instance: int = 1
    nodes_per_instance: int = 1
    num_free_nodes: int = 0
    idle_for_s: tuple[float, ...] = ()
    arrivals: tuple[float, ...] = ()
    scale_out_s: float = 0.0
    service_s: float = 1.0
    scaling: bool = False
    num_scale_outs: int = 0

    def __post_init__(self) -> None:
        for name in ("num_waiting", "num_serving", "num_instances", "num_ready", "num_free_nodes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; count from 0")
        for name in ("slots_per_instance", "nodes_per_instance"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not (0 <= self.scale_out_s < math.inf and 0 < self.service_s < math.inf):
            raise ConfigError(
                f"scale_out_s is {self.scale_out_s} and service_s {self.service_s}; give finite "
                "seconds, a service more than 0"
            )
        if not len(self.idle_for_s) <= self.num_instances >= self.num_ready:
            raise ConfigError(
                f"num_instances is {self.num_instances}, but {self.num_ready} are ready and "
                f"{len(self.idle_for_s)} idle; count each of them as an instance"
            )

    @property
    def demand(self) -> int:
        """Requests that are here."""
        return self.num_waiting + self.num_serving

    def num_idle(self, seconds: float) -> int:
        """Count the instances that have been idle for at least `seconds`."""
        return sum(idle >= seconds - ROUNDING for idle in self.idle_for_s)


def desired(policy: ScalingPolicy, seen: Observation) -> int:
    """Return how many instances are wanted in all: those there are, more, or fewer."""
    least = policy.min_instances
    if not seen.num_scale_outs:
        least = max(least, policy.initial_instances)
    wanted = max(RULES[policy.name](policy, seen), least)
    if policy.max_instances is not None:
        wanted = min(wanted, policy.max_instances)
    if seen.scaling and not policy.concurrent:
        return min(wanted, seen.num_instances)
    return wanted


def history_s(policy: ScalingPolicy, scale_out_s: float, service_s: float) -> float:
    """Return how far back an observation's `arrivals` must reach; 0 if nobody looks at them."""
    if policy.name != "predictive":
        return 0.0
    return 2 * window_s(scale_out_s + policy.poll_s, service_s)


def recheck_s(policy: ScalingPolicy, seen: Observation) -> float | None:
    """Return in how many seconds `desired` may change although nothing happens; None if it never does."""
    changes = [policy.idle_s - idle for idle in seen.idle_for_s if idle < policy.idle_s - ROUNDING]
    if policy.name == "predictive":
        window = window_s(seen.scale_out_s + policy.poll_s, seen.service_s)
        left = (arrival + window - seen.now for arrival in seen.arrivals)
        changes += [seconds for seconds in left if seconds > 0][:1]
    return max(MIN_RECHECK_S, min(changes)) if changes else None


def _authors(policy: ScalingPolicy, seen: Observation) -> int:
    """One more GPU per waiting request, if enough wait to fill an instance; idle ones go if none waits.

    Beyond the authors, whose models always have an instance: the first one waits neither for more requests
    nor for free nodes, lest a few requests wait for ever.
    """
    if seen.scaling:
        return seen.num_instances
    if seen.num_waiting == 0:
        return seen.num_instances - seen.num_idle(policy.idle_s)
    new = seen.num_waiting // (policy.per_instance * seen.nodes_per_instance)
    if new and seen.num_scale_outs < len(policy.steps):
        new = policy.steps[seen.num_scale_outs]
    return max(1, seen.num_instances + min(new, seen.num_free_nodes // seen.nodes_per_instance))


def _concurrency(policy: ScalingPolicy, seen: Observation) -> int:
    return _settled(policy, seen, _instances_for(seen.demand, policy, seen))


def _predictive(policy: ScalingPolicy, seen: Observation) -> int:
    """What is here now and what is forecast for the end of a scale-out begun at the next decision."""
    ahead_s = seen.scale_out_s + policy.poll_s
    window = window_s(ahead_s, seen.service_s)
    rates = forecast_rate(seen.arrivals, seen.now, window, ahead_s)
    slots = (count * seen.slots_per_instance for count in (seen.num_instances, seen.num_ready))
    here = seen.num_waiting, seen.num_serving
    coming = forecast_demand(rates, ahead_s, seen.service_s, *here, *slots)
    needed = _instances_for(max(seen.demand, coming), policy, seen)
    return _settled(policy, seen, needed)


def _fixed(policy: ScalingPolicy, seen: Observation) -> int:
    return policy.min_instances


def _instances_for(demand: float, policy: ScalingPolicy, seen: Observation) -> int:
    """The fewest instances with `demand` ≤ target · slots · instances."""
    return math.ceil(demand / (policy.target * seen.slots_per_instance) - ROUNDING)


def _settled(policy: ScalingPolicy, seen: Observation, needed: int) -> int:
    """Keep what is not needed until it has been idle long enough."""
    return max(needed, seen.num_instances - seen.num_idle(policy.idle_s))


RULES: dict[str, Callable[[ScalingPolicy, Observation], int]] = {
    "authors": _authors,
    "concurrency": _concurrency,
    "predictive": _predictive,
    "fixed": _fixed,
}
