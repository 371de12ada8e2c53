"""Cluster files: what is wrong is named with its value, and what a run on one is, is said truly."""

from dataclasses import replace
from pathlib import Path

import pytest

from lambdascale.config import ScaleSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.clusters import Cluster
from lambdascale.experiments.scaling import pace_of
from lambdascale.experiments.spec import RunSpec
from lambdascale.fleet.placement import Placement
from lambdascale.fleet.ray import RaySite
from lambdascale.provision.checks import Probed, Wanted, checks_of
from lambdascale.provision.cluster_file import ClusterFile, read_cluster, write_cluster
from lambdascale.provision.facts import Facts

CLUSTERS = Path(__file__).parent.parent / "artifact" / "clusters"
AGENTS = Placement(nodes=4)


@pytest.mark.parametrize("name", ["gpus.yaml", "cpus.yaml"])
def test_committed_cluster_files_are_valid(name: str):
    assert read_cluster(CLUSTERS / name).agents.nodes == 4


def test_a_cluster_file_is_read_as_it_was_written(tmp_path: Path):
    cluster = ClusterFile(Placement("10.0.0.1:6379", 2, 3, 1, "10.0.0.0/24"), imposed_gbps=1.5)
    write_cluster(tmp_path / "one.yaml", cluster)
    assert read_cluster(tmp_path / "one.yaml") == cluster


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("agents: {nodes: 0}", "nodes is 0; give at least 1"),
        ("agents: {nodes: two}", r"Expected `int`, got `str` - at `\$.agents.nodes`"),
        ("agents: {node: 2}", "agents.node is unknown; use ray, nodes"),
        ("agents: {ray: here}", "ray is 'here'; give HOST:PORT"),
        ("agents: {network: here}", "network is 'here'"),
        ("transport: pigeon", "transport is 'pigeon'; choose one of shm"),
        ("{transport: shm, agents: {nodes: 2}}", "shm reaches one machine only"),
        ("{link_gbps: 1, imposed_gbps: 1}", "give imposed_gbps alone"),
        ("link_gbps: -1", "link_gbps is -1.0"),
        ("[]", r"the file is \[\]"),
        ("{", "is no YAML"),
    ],
)
def test_what_is_wrong_with_a_cluster_file_is_named(tmp_path: Path, text: str, says: str):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        read_cluster(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("file", "link", "gbps", "provenance"),
    [
        (ClusterFile(AGENTS, imposed_gbps=1.0), "shaped", 1.0, "emulated"),
        (ClusterFile(AGENTS, link_gbps=200.0), "nominal", 200.0, "measured"),
        (ClusterFile(AGENTS), "paced", 4.0, "emulated"),
    ],
)
def test_a_run_says_whether_something_holds_the_links_to_a_rate(file, link, gbps, provenance):
    spec = Cluster("here", file).placed(RunSpec(link_gbps=4.0))
    assert (spec.link, spec.link_gbps, spec.provenance) == (link, gbps, provenance)
    assert (spec.cluster, spec.transport) == ("here", "tcp")


def test_agents_pace_only_what_the_links_do_not():
    inf = float("inf")
    assert pace_of("real", "paced", 8.0, 8.0) == 8.0
    assert pace_of("real", "shaped", 8.0, 8.0) == inf
    assert pace_of("real", "nominal", 8.0, 3.0) == 3.0, "a system that cannot use all of it"
    assert pace_of("virtual", "shaped", 8.0, 8.0) == 8.0


def test_more_nodes_than_a_cluster_has_agents_are_refused():
    with pytest.raises(ConfigError, match="nodes is 5, but cluster small has 4 agents"):
        Cluster("small", ClusterFile(AGENTS)).placed(RunSpec(scale=ScaleSpec(1, 5)))


def test_a_head_that_nobody_answers_at_is_named():
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lambdascale[cluster]'")
    placement = replace(AGENTS, ray="127.0.0.1:1")
    with pytest.raises(
        ConfigError, match=r"nobody answers at the Ray head 127.0.0.1:1 .*ray start"
    ):
        RaySite(placement).__enter__()


def test_each_check_that_fails_says_what_to_do():
    facts = Facts("10.0.0.1", (), "eth0", "", "down", None, 8 << 20, "none (no GPU)", False)
    wanted = Wanted("rdma", 1, 1e9, "/cache/image")
    failing = {c.name: c.advice for c in checks_of(Probed(0, facts, 1.0, 0.1, 1e6), wanted)}
    assert {name for name, advice in failing.items() if advice} == {
        *("GPU", "NIC", "link", "memlock", "clock", "slowest link", "model")
    }


def test_a_node_that_has_all_passes():
    gpu = ("NVIDIA H100",)
    facts = Facts("10.0.0.1", gpu, "eth0", "mlx5_0", "up", 200.0, -1, "dma-buf (…)", True)
    wanted = Wanted("rdma", 1, 1e9, "/cache/image")
    assert not any(c.advice for c in checks_of(Probed(0, facts, 0.01, 0.1, 1e9), wanted))
