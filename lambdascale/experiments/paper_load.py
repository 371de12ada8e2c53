"""The paper's tests under load: one system on the paper's testbed while requests come (paper.md 6.3, d.4).

Every run begins as the authors' do: node 0 has the model on its GPU and serves, all nodes have it on SSD.
That first instance stays until a scale-out has had to load something. Requests are the authors', whatever
a trace says, unless another replay is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lambdascale.experiments.cached import Case
from lambdascale.experiments.paper_scale import DTYPE, size_of, testbed_of
from lambdascale.experiments.placed import on
from lambdascale.experiments.results import RunResult
from lambdascale.experiments.summary import ALL, summarise
from lambdascale.experiments.system import System
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.sim.hardware import AUTHORS, EngineSpec
from lambdascale.workload import authors
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow

PAPERS, OURS, IDEAL = "lambdascale-paper", "lambdascale", "ideal"
BASELINES = ("faasnet", "nccl", "serverlessllm")  # the paper's
FIGURES = (PAPERS, OURS, *BASELINES, IDEAL)
MODELS = ("llama-2-7b", "llama-2-13b", "llama-2-70b")
LARGE_TABLES = ("tokens", "blocks", "residency", "pipelines", "switches")
# Than where multicasts are timed: 3 % of one to 4 nodes, for a third of the work.
FEWER_BLOCKS = {"nccl": 64}
Fact = str | float


@dataclass(frozen=True, slots=True)
class Load:
    """A run to be done: `system` serves `rows` of `model`; `facts` tell it from others, in its table too."""

    system: System
    model: str
    rows: Sequence[TraceRow]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    engine: EngineSpec = AUTHORS
    replay: Replay | None = None

    @property
    def name(self) -> str:
        """Its system's."""
        return self.system.spec.name

    @property
    def columns(self) -> dict[str, Fact]:
        """What a table says of it."""
        return {"size": size_of(self.model), "system": self.name, **self.facts}

    @property
    def label(self) -> str:
        """Its name among runs."""
        return ", ".join(f"{name} {value}" for name, value in self.columns.items())

    def case(self) -> Case:
        """Return it as a specification and its trace."""
        hardware = testbed_of(self.model, self.name)
        spec = TraceSpec(
            models=(self.model,),
            dtype=DTYPE,
            replay=self.replay or authors.replay(self.model),
            link_gbps=hardware.link_gbps,
            device=self.engine.device(self.model, hardware),
            initial_gpu=1,
            clock="virtual",
        )
        system = replace(self.system, blocks=FEWER_BLOCKS.get(self.name, self.system.blocks))
        placed = system.trace(on(hardware, self.engine, spec))
        policy = replace(placed.policy, initial_instances=1)
        return replace(placed, policy=policy, label=self.label), self.rows


def names(text: str) -> list[str]:
    """Return the names in a notebook's parameter.

    >>> names("a, b")
    ['a', 'b']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[float]:
    """Return the numbers in a notebook's parameter."""
    return [float(number) for number in names(text)]


def cases(loads: Sequence[Load]) -> list[Case]:
    """Return what is to be replayed."""
    return [load.case() for load in loads]


def summary(loads: Sequence[Load], result: RunResult) -> pd.DataFrame:
    """Return one row per run: what tells it from others, then the columns of `summarise`, and `last_s`.

    `last_s`: until every request had its first token, from its arrival.
    """
    about = pd.DataFrame([{"run": load.label, **load.columns} for load in loads])
    numbers = summarise(result)
    numbers = numbers[numbers["model"] == ALL].drop(columns="model")
    last = result.requests.groupby("run")["ttft_s"].max().rename("last_s").reset_index()
    return about.merge(numbers, on="run").merge(last, on="run").drop(columns="run")


def with_phase(system: System, share: float) -> System:
    """Return a system whose autoscaler polls at another time: `share` of its period later, if it polls."""
    policy = system.policy
    return replace(system, policy=replace(policy, phase_s=share * policy.poll_s))


def named(system: System, name: str, **changes: Any) -> System:
    """Return a system that differs by fields of its specification, under another name."""
    return replace(system, spec=replace(system.spec, name=name, **changes))
