"""Figure 6: execution pipelines at work, from every step that the nodes of real simulated runs executed.

a  four nodes of a pipeline, several requests in flight, in lock-step as in the paper and free-running as ours
b  instances of several GPUs: a pipeline over the GPUs of two of them (paper.md c.9, case 2)
c  hosts of two GPUs: blocks come once per host, and each copy joins a pipeline of its own (case 3)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from lambdascale.cluster.records import RunLog
from lambdascale.engine.base import Step
from lambdascale.experiments.cached import Case
from lambdascale.experiments.frames import tables
from lambdascale.experiments.paper_scale import stress
from lambdascale.experiments.session import Session
from lambdascale.experiments.simulated import in_virtual_time
from lambdascale.experiments.systems import system
from lambdascale.experiments.trace_run import load_workload, trace_session
from lambdascale.storage.tiers import Tier

NVLINK_RATE = 200e9  # bytes/s between GPUs of a host, vendor, nominal (paper.md h.8)
SYSTEMS = {"lambdascale-paper": "lock-step", "lambdascale": "free-running"}


@dataclass(frozen=True)
class Observed:
    """What the nodes executed, `node first stop slots start_s end_s`, and the tables of the run."""

    steps: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]

    @property
    def pipelines(self) -> pd.DataFrame:
        """The stages of execution pipelines, without replicas."""
        stages = self.tables["pipelines"]
        return stages[stages["kind"] == "pipeline"]

    def in_pipelines(self) -> pd.DataFrame:
        """Return the steps that were stages of a pipeline, with its number."""
        keys = ["node", "first", "stop"]
        joined = self.steps.merge(
            self.pipelines[[*keys, "pipeline", "formed_s", "dissolved_s"]], on=keys
        )
        inside = joined["start_s"].between(joined["formed_s"], joined["dissolved_s"])
        return joined[inside].reset_index(drop=True)


def observe(session: Session, case: Case, local_rate: float = NVLINK_RATE) -> Observed:
    """Run a session in virtual time and note every step."""
    spec, log = case[0], RunLog()
    seen: list[tuple[int, Step, float, float]] = []
    in_virtual_time(session, log, spec.conditions, local_rate, lambda *step: seen.append(step))
    rows = [
        (node, step.first, step.stop, step.chunks[0].slot, log.since(begun_s), log.since(ended_s))
        for node, step, begun_s, ended_s in seen
    ]
    steps = pd.DataFrame(rows, columns=["node", "first", "stop", "slot", "start_s", "end_s"])
    frames = tables(spec.label, log.records, session.requests, spec.num_sources)
    return Observed(steps, frames)


def two_dimensional(model: str, num_nodes: int, num_sources: int) -> dict[str, Observed]:
    """Return a run of each of SYSTEMS in which k sources bring the model to as many nodes (a)."""
    runs = {}
    for name, how in SYSTEMS.items():
        case = stress(system(name), model, num_nodes, in_gpu=num_sources)
        runs[f"{name}: {how}"] = observe(_session(case), case)
    return runs


def spanning(model: str, num_instances: int, num_gpus: int) -> Observed:
    """Return a run with instances of `num_gpus` nodes, of which the first half hold the model (b)."""
    case = stress(system("lambdascale"), model, num_instances * num_gpus, in_gpu=1)
    session = _session(case)
    (deployment,) = session.deployments
    sources = range(0, num_instances // 2 * num_gpus, num_gpus)
    spread = replace(
        deployment,
        nodes_per_instance=num_gpus,
        initial=dict.fromkeys(sources, Tier.GPU),
        in_flight=num_gpus,
        policy=replace(deployment.policy, min_instances=num_instances),
    )
    return observe(replace(session, deployments=(spread,)), case)


def replicated(model: str, num_hosts: int, num_gpus: int, num_blocks: int = 16) -> Observed:
    """Return a run with hosts of `num_gpus` nodes, of which a GPU of the first half holds the model (c)."""
    ours = replace(system("lambdascale"), blocks=num_blocks)
    case = stress(ours, model, num_hosts * num_gpus, in_gpu=1)
    session = _session(case)
    (deployment,) = session.deployments
    sources = range(0, num_hosts // 2 * num_gpus, num_gpus)
    placed = replace(deployment, initial=dict.fromkeys(sources, Tier.GPU))
    cluster = replace(session.cluster, nodes_per_host=num_gpus)
    return observe(replace(session, cluster=cluster, deployments=(placed,)), case)


def _session(case: Case) -> Session:
    spec, rows = case
    return trace_session(spec, load_workload(spec, rows))
