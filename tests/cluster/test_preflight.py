"""Preflight on a cluster of several nodes: every node is in the table, and its link has its rate."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from lambdascale.model.packed import PackedModel


def preflight(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "lambdascale", "preflight", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_every_node_and_its_link_are_in_the_table(cluster_file: Path, smollm2: PackedModel):
    done = preflight("--cluster", str(cluster_file), "--json")
    assert done.returncode == 0, done.stderr
    nodes = json.loads(done.stdout)["nodes"]
    assert len({node["node"].split()[1] for node in nodes}) == len(nodes) == 4
    assert {node["GPU"] for node in nodes} <= {"none"}
    for node in nodes:
        assert 0.8 < float(node["slowest link"].split()[0]) < 1.1, "Gbit/s, as imposed"
        assert node["link"].startswith("up")
        assert node["model"] == "there"


def test_a_link_below_its_stated_rate_says_what_to_do(cluster_file: Path, tmp_path: Path):
    stated = yaml.safe_load(cluster_file.read_text())
    stated["imposed_gbps"] = 10.0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(stated))
    done = preflight("--cluster", str(wrong))
    assert done.returncode == 2
    assert done.stdout.count("the cluster file says 10 Gbit/s; see the cable") == 4
    assert done.stderr == (
        "lambdascale preflight: 4 checks failed; do what their lines say, then try again\n"
    )
