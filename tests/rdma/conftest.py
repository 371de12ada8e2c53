"""Devices for the tests of real verbs, and the wire that can be made to lose or cut; `make test-rdma`.

These tests are not among those of `make test`, and without a device they fail: nothing is skipped for want
of one. Everything is found through sysfs.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from devices import Device, Wire, find_devices, find_wire
from scaling import MODULES, born, nursery

from lambdascale.fleet.nursery import Nursery


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, help="the folder for files that tests write")


@pytest.fixture(scope="session")
def devices() -> list[Device]:
    """The RDMA devices of which a port is active and has a GID for RoCE v2 over IPv4."""
    found = find_devices()
    if not found:
        pytest.fail(
            "no RDMA device has an active port with RoCE v2 over IPv4; run `make test-rdma`"
        )
    return found


@pytest.fixture
def wire(devices: list[Device]) -> Iterator[Wire]:
    """Two devices joined by a wire, which is whole again afterwards."""
    found = find_wire(devices)
    if found is None:
        pytest.skip("no two devices are on a pair of veth; the virtual machine has such a wire")
    yield found
    found.restore()


@pytest.fixture(scope="session", autouse=True)
def importing() -> Iterator[Nursery]:
    """The nursery of every scale-out. torch takes it most of a minute in the virtual machine, while tests of
    links, which come first, leave a processor idle.
    """
    with nursery(*MODULES) as made:
        yield made


@pytest.fixture(scope="session")
def warm(importing: Nursery) -> Nursery:
    """The same when it has imported everything."""
    born(importing)
    return importing


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for files that outlive the tests."""
    return pytestconfig.getoption("--results") or tmp_path_factory.mktemp("results")
