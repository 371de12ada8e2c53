"""A cluster under a trace, as one frozen value: models, tiers, policy, workload."""

import math
from dataclasses import dataclass, field

from lambdascale.config import SystemSpec, check_in_flight
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import (
    NOMINAL,
    PACED,
    check_clock,
    check_link,
    check_nodes,
    digest_of,
    provenance_of,
    rate_of,
)
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.conditions import Conditions
from lambdascale.workload.replay import Replay

RATES = ("link_gbps", "pcie_gbps", "ssd_gbps")
SIZES = ("gpu_gb", "host_gb", "ssd_gb")
COUNTS = (
    *("num_nodes", "gpus_per_node", "num_blocks"),
    *("max_slots", "max_length", "max_step_tokens"),
)


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """Models served by `num_nodes` nodes while a trace is replayed.

    Capacities per node in GB (10⁹ bytes; None: the GPU holds the largest model, host memory and SSD hold
    all), rates in Gbit/s (0: as fast as it goes). An instance serves `in_flight` requests at once (None: one
    per slot). `initial_gpu` and `initial_host` nodes hold every model in that tier at first, the GPU ones
    from node 0 on, the host ones after them. `trace` is its file's name, `trace_digest` what was read. A node
    has `gpus_per_node` GPUs, which are only counted: its rates, sizes and device are those of all of them
    together. A node that has ended is started again after `restart_s` (None: never). Without `every_token`
    the table of tokens has only the first and the last of each request.
    `conditions`, `cluster`, `link`: see `RunSpec`.
    """

    models: tuple[str, ...] = ("smollm2-135m",)
    dtype: str = "float32"
    system: SystemSpec = field(default_factory=SystemSpec)
    policy: ScalingPolicy = field(default_factory=ScalingPolicy)
    replay: Replay = field(default_factory=lambda: Replay(1.0, 64, 32))
    trace: str = ""
    trace_digest: str = ""
    num_nodes: int = 4
    num_blocks: int = 16
    max_slots: int = 8
    max_length: int = 512
    max_step_tokens: int = 64
    in_flight: int | None = None
    gpu_gb: float | None = None
    host_gb: float | None = None
    ssd_gb: float | None = None
    initial_gpu: int = 0
    initial_host: int = 0
    transport: str = "shm"
    link_gbps: float = 0.0
    pcie_gbps: float = 0.0
    ssd_gbps: float = 0.0
    device: DeviceModel | None = None
    preconnect: bool = True
    every_token: bool = True
    timeout_s: float = 3600.0
    clock: str = "real"
    label: str = "trace"
    gpus_per_node: int = 1
    conditions: Conditions = field(default_factory=Conditions)
    cluster: str = ""
    link: str = PACED
    restart_s: float | None = None

    def __post_init__(self) -> None:
        check_clock(self.clock, self.dtype, self.device, self.link_gbps)
        check_link(self.link)
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        check_in_flight(self.in_flight, self.max_slots)
        for name in RATES:
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 (no limit) or more")
        for name in SIZES:
            size = getattr(self, name)
            if size is not None and not 0 <= size < math.inf:
                raise ConfigError(f"{name} is {size}; give gigabytes, 0 or more")
        check_nodes(self.conditions, self.num_nodes)
        self._check_initial()

    def _check_initial(self) -> None:
        if min(self.initial_gpu, self.initial_host) < 0:
            raise ConfigError("initial_gpu and initial_host count nodes; give 0 or more")
        if self.initial_gpu + self.initial_host > self.num_nodes:
            raise ConfigError(
                f"initial_gpu is {self.initial_gpu} and initial_host {self.initial_host}, but num_nodes is "
                f"{self.num_nodes}; give fewer"
            )
        if not self.models or len(set(self.models)) < len(self.models):
            raise ConfigError(f"models is {self.models}; name at least one, each once")

    @property
    def num_sources(self) -> int:
        """How many nodes hold the models on their GPUs at first."""
        return self.initial_gpu

    @property
    def provenance(self) -> str:
        """What the numbers of a run are: see `provenance_of`."""
        imposed = self.device or any(getattr(self, name) for name in self._imposed_rates)
        return provenance_of(self.clock, bool(imposed))

    @property
    def _imposed_rates(self) -> tuple[str, ...]:
        return RATES[1:] if self.link == NOMINAL else RATES

    @property
    def digest(self) -> str:
        """A short name: see `digest_of`."""
        return digest_of(self)

    def rate(self, name: str) -> float:
        """Return one of RATES in bytes/s."""
        return rate_of(getattr(self, name))
