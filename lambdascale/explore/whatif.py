"""What if: model × nodes × links × system × policy × arrivals → time to first token and GPU-seconds.

Simulated: the controller and agents of a real run, in virtual time, on nodes like the paper's. One of them
holds the model on its GPU, all of them on their SSD. An answer that was given once is not computed again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import ALL, summarise
from lambdascale.experiments.systems import AUTHORS as AUTHORS_POLICY
from lambdascale.experiments.systems import EVENT_DRIVEN, SYSTEMS
from lambdascale.experiments.trace_run import run_trace
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.model.nominal import is_nominal
from lambdascale.policy import ScalingPolicy
from lambdascale.sim.engine_spec import DTYPE, ENGINES
from lambdascale.sim.machines import Hardware
from lambdascale.sim.testbeds import TESTBED1, TESTBED2
from lambdascale.workload.arrivals import Bursts, bursty
from lambdascale.workload.authors import OUTPUT_TOKENS, PROMPT_TOKENS, replay
from lambdascale.workload.steady import at_once, constant
from lambdascale.workload.trace import TraceRow

MODELS = ("smollm2-135m", "llama-2-7b", "llama-2-13b", "llama-2-70b")
LARGE = {"llama-2-70b": TESTBED2}  # what needs nodes of four GPUs; all else runs on testbed 1
REAL_DTYPE = "bfloat16"  # of a model that has weights: as long as the paper's float16
OWN = "the system's own"
POLICIES: dict[str, ScalingPolicy | None] = {
    OWN: None,
    "event-driven": EVENT_DRIVEN,
    "the authors', every second": AUTHORS_POLICY,
    "all nodes, always": ScalingPolicy("fixed"),
}
ARRIVALS = ("all at once", "constant", "bursty")
RATES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
LINK_GBPS = (10.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0)
MOST_NODES = 32
LONGEST_IDLE_S = 60.0
NUM_REQUESTS = 30
BURSTS = Bursts(surge=10.0, burst_s=2.0)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A question; `rate` in requests/s. Names are those of the tables above. Raises ConfigError."""

    model: str = "llama-2-13b"
    num_nodes: int = 12
    link_gbps: float = 400.0
    system: str = "lambdascale"
    policy: str = OWN
    engine: str = "authors"
    arrivals: str = "bursty"
    rate: float = 2.0
    idle_s: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        for field, known in _NAMES.items():
            if getattr(self, field) not in known:
                raise ConfigError(
                    f"{field} is {getattr(self, field)!r}; use one of {', '.join(known)}"
                )
        if not 2 <= self.num_nodes <= MOST_NODES:
            raise ConfigError(f"nodes is {self.num_nodes}; use 2 to {MOST_NODES}")
        for field in ("link_gbps", "rate"):
            if not getattr(self, field) > 0:
                raise ConfigError(f"{field} is {getattr(self, field)}; it must be above 0")
        if not 0 <= self.idle_s <= LONGEST_IDLE_S:
            raise ConfigError(f"idle_s is {self.idle_s}; use 0 to {LONGEST_IDLE_S:g} seconds")


_NAMES: Mapping[str, Collection[str]] = {
    "model": MODELS,
    "system": SYSTEMS,
    "policy": POLICIES,
    "engine": ENGINES,
    "arrivals": ARRIVALS,
}


@dataclass(frozen=True)
class Answer:
    """The run, and its numbers: seconds to the first token, GPU-seconds, most nodes at once."""

    asked: WhatIf
    result: RunResult
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    gpu_s: float
    tokens_per_s: float
    most_nodes: int


@lru_cache(maxsize=128)
def answer(asked: WhatIf) -> Answer:
    """Simulate it. Raises LambdaScaleError."""
    result = run_trace(spec_of(asked), rows_of(asked))
    table = summarise(result)
    numbers = table[table["model"] == ALL].iloc[0]
    return Answer(
        asked,
        result,
        ttft_p50_s=float(numbers["ttft_p50_s"]),
        ttft_p90_s=float(numbers["ttft_p90_s"]),
        ttft_p99_s=float(numbers["ttft_p99_s"]),
        gpu_s=float(numbers["gpu_s"]),
        tokens_per_s=float(numbers["tokens_per_s"]),
        most_nodes=most_at_once(result),
    )


def spec_of(asked: WhatIf) -> TraceSpec:
    """Return the cluster that is asked about."""
    system = SYSTEMS[asked.system]
    spec = system.trace(_cluster(asked, LARGE.get(asked.model, TESTBED1)))
    policy = POLICIES[asked.policy] or system.policy
    least = asked.num_nodes if policy.name == "fixed" else policy.min_instances
    policy = replace(policy, idle_s=asked.idle_s, min_instances=least)
    return replace(spec, policy=policy, label=label_of(asked))


def _cluster(asked: WhatIf, hardware: Hardware) -> TraceSpec:
    """Nodes of a testbed with the links that are asked about; one holds the model on its GPU."""
    model, engine = asked.model, ENGINES[asked.engine]
    dtype = DTYPE if is_nominal(model) else REAL_DTYPE
    known = model in engine.step_s
    limits = engine.limits(model, hardware, dtype)
    return TraceSpec(
        models=(model,),
        dtype=dtype,
        replay=replay(model),
        num_nodes=asked.num_nodes,
        gpus_per_node=hardware.gpus_per_node,
        max_slots=limits.max_slots,
        max_length=limits.max_length,
        max_step_tokens=limits.max_step_tokens,
        in_flight=engine.requests(model, hardware, dtype),
        initial_gpu=1,
        link_gbps=asked.link_gbps,
        pcie_gbps=hardware.pcie_gbps,
        ssd_gbps=hardware.ssd_gbps,
        device=engine.device(model, hardware) if known else hardware.device_of(model),
        conditions=hardware.conditions,
        every_token=False,
        clock="virtual",
    )


def label_of(asked: WhatIf) -> str:
    """Return the question as one line."""
    return (
        f"{asked.model} on {asked.num_nodes} nodes, {asked.link_gbps:g} Gbit/s, {asked.system}, "
        f"engine {asked.engine}, {asked.arrivals} at {asked.rate:g}/s, scaling: {asked.policy}"
    )


def rows_of(asked: WhatIf) -> tuple[TraceRow, ...]:
    """Return NUM_REQUESTS of the authors' requests; the same ones for every model and system."""
    if asked.arrivals == "all at once":
        return at_once(NUM_REQUESTS)
    if asked.arrivals == "constant":
        return constant(NUM_REQUESTS, asked.rate)
    enough_s = 10 * NUM_REQUESTS / asked.rate
    shape = PROMPT_TOKENS, OUTPUT_TOKENS
    return bursty(("requests",), asked.rate, enough_s, asked.seed, BURSTS, *shape)[:NUM_REQUESTS]


def most_at_once(result: RunResult) -> int:
    """Return the largest number of nodes that were assigned at one time."""
    rows = result.allocations
    changes = [(t, 1) for t in rows["from_s"]] + [(t, -1) for t in rows["until_s"].dropna()]
    return max(accumulate(change for _, change in sorted(changes)), default=0)
