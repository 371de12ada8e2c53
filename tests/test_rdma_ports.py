"""RDMA ports as sysfs shows them, on a tree made for the test, and which of them a node uses."""

from dataclasses import replace
from pathlib import Path

import pytest

from lambdascale.errors import ConfigError
from lambdascale.transport.rdma.ports import (
    RdmaPort,
    choose,
    discover,
    mapped,
    nearness,
    place_of_gpu,
)

LINK_LOCAL = "fe80:0000:0000:0000:0202:c9ff:fe00:0001"
EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"


def make_port(
    root: Path, device: str, layer: str, gids: list[tuple[str, str]], **more: str
) -> None:
    """A port with GIDs (value, type); `more` are its other files."""
    port = root / device / "ports" / "1"
    (port / "gids").mkdir(parents=True)
    (port / "gid_attrs" / "types").mkdir(parents=True)
    files = {"link_layer": layer, "state": "4: ACTIVE", "rate": "400 Gb/sec (4X NDR)", "lid": "0x0"}
    for name, content in (files | more).items():
        (port / name).write_text(content + "\n")
    for index, (gid, kind) in enumerate(gids):
        (port / "gids" / str(index)).write_text(gid + "\n")
        (port / "gid_attrs" / "types" / str(index)).write_text(kind + "\n")


def test_a_roce_port_is_addressed_by_its_version_2_gid_of_an_ipv4_address(tmp_path: Path):
    gids = [(LINK_LOCAL, "IB/RoCE v1"), (LINK_LOCAL, "RoCE v2"), (EMPTY, "")]
    gids += [(mapped("10.1.2.3"), "IB/RoCE v1"), (mapped("10.1.2.3"), "RoCE v2")]
    make_port(tmp_path, "mlx5_0", "Ethernet", gids)
    (port,) = discover(tmp_path)
    assert (port.gid_index, port.gid, port.rate_gbps) == (4, mapped("10.1.2.3"), 400)
    assert port.is_active
    assert port.is_software


def test_without_an_ipv4_address_the_link_local_gid_of_version_2_serves(tmp_path: Path):
    make_port(tmp_path, "mlx5_0", "Ethernet", [(LINK_LOCAL, "IB/RoCE v1"), (LINK_LOCAL, "RoCE v2")])
    assert [port.gid_index for port in discover(tmp_path)] == [1]


def test_an_infiniband_port_has_a_lid(tmp_path: Path):
    make_port(tmp_path, "mlx5_0", "InfiniBand", [(LINK_LOCAL, "IB/RoCE v1")], lid="0x1f")
    (port,) = discover(tmp_path)
    assert (port.lid, port.gid_index, port.link_layer) == (31, 0, "InfiniBand")


def test_a_port_that_cannot_be_addressed_or_a_host_without_devices_is_none(tmp_path: Path):
    make_port(tmp_path, "mlx5_0", "Ethernet", [(LINK_LOCAL, "IB/RoCE v1")])
    assert discover(tmp_path) == ()
    assert discover(tmp_path / "nothing") == ()


def port(device: str, *pci: str, rate: float = 400, layer: str = "InfiniBand") -> RdmaPort:
    return RdmaPort(device, 1, layer, "ACTIVE", rate, 7, LINK_LOCAL, 0, pci)


NEAR = port("mlx5_0", "pci0000:10", "0000:10:01.0", "0000:11:00.0")
ALSO_NEAR = port("mlx5_1", "pci0000:10", "0000:10:01.0", "0000:12:00.0")
FAR = port("mlx5_2", "pci0000:80", "0000:80:01.0")
SLOW = port("mlx5_3", "pci0000:10", "0000:10:01.0", rate=25, layer="Ethernet")
SOFTWARE = port("rxe0", rate=2.5, layer="Ethernet")
GPU = ("pci0000:10", "0000:10:01.0", "0000:13:00.0")


def test_the_rails_of_a_node_are_the_fast_ports_near_its_gpu():
    ports = (FAR, NEAR, ALSO_NEAR, SLOW, SOFTWARE)
    assert choose(ports, "10.0.0.1", near=GPU) == (NEAR, ALSO_NEAR)
    assert choose(ports, "10.0.0.1", near=("pci0000:80", "0000:80:02.0")) == (FAR,)


def test_without_a_gpu_all_fast_ports_are_rails_and_software_only_if_there_is_nothing_else():
    assert choose((NEAR, FAR, SLOW, SOFTWARE), "10.0.0.1") == (NEAR, FAR)
    assert choose((SOFTWARE,), "10.0.0.1") == (SOFTWARE,)


def test_the_port_that_has_the_hosts_address_is_its_rail():
    own = replace(SLOW, gid=mapped("10.0.0.1"))
    assert choose((NEAR, own), "10.0.0.1", near=GPU) == (own,)


def test_named_devices_decide_and_a_port_may_be_named():
    assert choose((NEAR, FAR), "10.0.0.1", ("mlx5_2", "mlx5_0/1")) == (FAR, NEAR)
    with pytest.raises(ConfigError, match="'mlx9' is not on this host, which has mlx5_0/1"):
        choose((NEAR,), "10.0.0.1", ("mlx9",))


def test_a_host_without_an_active_port_is_told_what_to_run():
    with pytest.raises(ConfigError, match="rdma link"):
        choose((replace(NEAR, state="DOWN"),), "10.0.0.1")


def test_what_is_no_ipv4_address_has_no_gid():
    assert mapped("node-7") == ""
    assert nearness((), GPU) == 0


@pytest.mark.parametrize(
    ("visible", "found"), [("", "0000:11:00.0"), ("1,0", "0000:91:00.0"), ("7", ""), ("GPU-5", "")]
)
def test_the_place_of_a_gpu_is_that_of_its_pci_device(tmp_path: Path, visible: str, found: str):
    for bus in ("11", "91"):
        device = tmp_path / f"pci0000:{bus[0]}0" / f"0000:{bus}:00.0"
        device.mkdir(parents=True)
        (tmp_path / "gpus" / device.name).mkdir(parents=True)
        (tmp_path / "pci").mkdir(exist_ok=True)
        (tmp_path / "pci" / device.name).symlink_to(device)
    place = place_of_gpu(visible, tmp_path / "gpus", tmp_path / "pci")
    assert place[-1:] == ((found,) if found else ())
    assert place_of_gpu(visible, tmp_path / "none", tmp_path / "pci") == ()
