"""The cluster that these tests run on: `make test-cluster` makes one and names its file."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lambdascale.experiments.clusters import Cluster
from lambdascale.fleet.placement import Placement

TESTS = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", type=Path, help="the file of the cluster to test on")


@pytest.fixture(scope="session")
def cluster_file(request: pytest.FixtureRequest) -> Path:
    path: Path | None = request.config.getoption("--cluster")
    if path is None:
        raise pytest.UsageError("name the cluster's file: --cluster FILE; or run make test-cluster")
    return path


@pytest.fixture(scope="session")
def cluster(cluster_file: Path) -> Cluster:
    return Cluster.read(cluster_file)


@pytest.fixture(scope="session")
def placement(cluster: Cluster) -> Placement:
    """That of the cluster, whose agents find the entry functions of tests."""
    paths = os.pathsep.join([str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return replace(cluster.file.agents, environment={"PYTHONPATH": paths})
