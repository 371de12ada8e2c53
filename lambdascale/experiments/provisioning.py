"""What the notebook of provisioning shows: the agents of a cluster file, and the preflight of their nodes."""

from pathlib import Path

import pandas as pd

from lambdascale.experiments.clusters import Cluster
from lambdascale.model.catalogue import load_packed
from lambdascale.provision.cluster_file import ClusterFile
from lambdascale.provision.preflight import preflight


def described(cluster: str) -> str:
    """Say which agents a cluster file describes; without one, what that means."""
    if not cluster:
        return "no cluster: agents are processes of this machine, over shared memory"
    file = Cluster.read(Path(cluster)).file
    agents = file.agents
    return (
        f"{agents.num_agents} agents, {agents.per_node} on each of {agents.nodes} nodes with {agents.gpus} "
        f"GPUs each, over {file.transport}; {_links(file)}"
    )


def _links(file: ClusterFile) -> str:
    if file.imposed_gbps:
        return f"links held to {file.imposed_gbps:g} Gbit/s, so runs there are emulated"
    if file.link_gbps:
        return f"links of {file.link_gbps:g} Gbit/s, so runs there are measured"
    return "links of a rate that is not stated"


def num_agents(cluster: str, otherwise: int) -> int:
    """Return how many agents a cluster has, `otherwise` without one."""
    return Cluster.read(Path(cluster)).file.agents.num_agents if cluster else otherwise


def nodes(cluster: str, model: str, dtype: str = "float32") -> pd.DataFrame:
    """Return the preflight of a cluster, or of this machine: a row per node, and the advice for it."""
    image = str(load_packed(model, dtype).image)
    file = Cluster.read(Path(cluster)).file if cluster else None
    rows = preflight(file, image)
    advice = ["; ".join(c.advice for c in row if c.advice) or "ready" for row in rows]
    frame = pd.DataFrame([{check.name: check.shown for check in row} for row in rows])
    return frame.assign(**{"to do": advice})


def tear_down(cluster: str, sure: bool) -> str:
    """Say how to end the Ray cluster; nothing of a run is left there, whoever started Ray ends it."""
    if not cluster:
        return "nothing to tear down: agents ended with their run"
    if not sure:
        return "set tear_down = True to be told how to end Ray on the nodes; no agent is left there"
    return "run `ray stop` on every node, scancel for Slurm, kubectl delete for KubeRay"
