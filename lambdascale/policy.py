"""How many instances a model gets, as plain values; `cluster/autoscaler.py` holds what the names mean.

authors      the authors' rule (paper.md d.4): one more GPU per request that waits
concurrency  enough instances that a `target` share of their slots is busy
predictive   the same for the demand that is forecast for when a scale-out begun now would be over
fixed        always `min_instances`
"""

import math
from dataclasses import dataclass

from lambdascale.errors import ConfigError

POLICIES = ("authors", "concurrency", "predictive", "fixed")


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """When a model gains and loses instances.

    A decision falls every `poll_s` seconds, the first after `phase_s`; with `poll_s` 0 whenever something
    changes. An instance is released once it has been idle for `idle_s`. When models outnumber instances,
    one that has held its last instance for `quantum_s` yields it. Unless `concurrent`, no scale-out
    starts while one of the same model runs. `initial_instances` are there from the start, and stay at least
    until the first scale-out that has to load anything.

    Of the authors' rule alone: `per_instance` waiting requests are worth an instance more (theirs: one per
    GPU of a node), and the first scale-outs take as many as `steps` says, however many wait (paper.md d.4).
    Raises ConfigError.
    """

    name: str = "concurrency"
    poll_s: float = 0.0
    phase_s: float = 0.0
    min_instances: int = 0
    initial_instances: int = 0
    max_instances: int | None = None
    target: float = 0.7
    idle_s: float = 0.0
    quantum_s: float = 15.0
    concurrent: bool = True
    per_instance: int = 1
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise ConfigError(f"policy {self.name!r} is unknown; use one of {', '.join(POLICIES)}")
        self._check_seconds()
        self._check_instances()
        if not 0 < self.target <= 1:
            raise ConfigError(f"target is {self.target}; it is a share of slots, in (0, 1]")

    def _check_seconds(self) -> None:
        for name in ("poll_s", "phase_s", "idle_s", "quantum_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give seconds, 0 or more")
        if self.phase_s and not self.poll_s:
            raise ConfigError(
                f"phase_s is {self.phase_s} but poll_s is 0; give a period, or leave phase_s at 0"
            )
        if self.quantum_s == 0:
            raise ConfigError("quantum_s is 0.0; models would only swap, give some seconds")

    def _check_instances(self) -> None:
        least, most = self.min_instances, self.max_instances
        for name in ("min_instances", "initial_instances"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        if most is not None and most < max(1, least):
            raise ConfigError(
                f"max_instances is {most}; it must be at least {max(1, least)}, or None for no bound"
            )
        if self.per_instance < 1 or min(self.steps, default=1) < 1:
            raise ConfigError(
                f"per_instance is {self.per_instance} and steps {self.steps}; count from 1"
            )
