"""RDMA ports of this host, read from sysfs, and which of them a node should use. No verbs, no GPU needed."""

import ipaddress
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lambdascale.errors import ConfigError

SYSFS = Path("/sys/class/infiniband")
GPUS = Path("/proc/driver/nvidia/gpus")
PCI_DEVICES = Path("/sys/bus/pci/devices")
ROCE_V2 = "RoCE v2"
ACTIVE = "ACTIVE"
_IPV4 = "0000:0000:0000:0000:0000:ffff:"  # how the GID of such an address begins
_HOLES = 16
HOW_TO_CHECK = (
    "run `rdma link` (iproute2) or `ibv_devinfo`; for a software device see `make test-rdma`"
)


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port of a device: `gid` and its index, `lid` (0: none), link rate (Gbit/s), and where it sits.

    `link_layer` is InfiniBand or Ethernet. `pci` is the device's place among the buses, root first; a
    software device has none.
    """

    device: str
    number: int
    link_layer: str
    state: str
    rate_gbps: float
    lid: int
    gid: str
    gid_index: int
    pci: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.device}/{self.number}"

    @property
    def is_active(self) -> bool:
        return self.state == ACTIVE

    @property
    def is_software(self) -> bool:
        return not self.pci


def discover(root: Path = SYSFS) -> tuple[RdmaPort, ...]:
    """Return every port that can be addressed, by device and number."""
    devices = sorted(root.iterdir()) if root.is_dir() else []
    ports = [
        port for device in devices for port in sorted((device / "ports").iterdir(), key=_number)
    ]
    return tuple(found for port in ports if (found := _read(port)) is not None)


def choose(
    ports: Sequence[RdmaPort], host: str, names: Sequence[str] = (), near: tuple[str, ...] = ()
) -> tuple[RdmaPort, ...]:
    """Return the rails of a node, one per port to use.

    `names` (devices, or device/port) decides if given; else the port that has the address `host`; else, of
    those active, the nearest to the PCI device `near` (a GPU), and of these the fastest of one link layer.
    Raises ConfigError if none is left.
    """
    if names:
        return tuple(_named(ports, name) for name in names)
    active = [port for port in ports if port.is_active]
    if not active:
        raise ConfigError(f"no RDMA port is active on this host; {HOW_TO_CHECK}")
    if own := [port for port in active if port.gid == mapped(host)]:
        return tuple(own[:1])
    hardware = [port for port in active if not port.is_software] or active
    closest = max(nearness(port.pci, near) for port in hardware)
    close = [port for port in hardware if nearness(port.pci, near) == closest]
    best = max(close, key=lambda port: (port.rate_gbps, port.link_layer == "InfiniBand"))
    return tuple(
        port
        for port in close
        if (port.rate_gbps, port.link_layer) == (best.rate_gbps, best.link_layer)
    )


def place_of_gpu(visible: str, gpus: Path = GPUS, pci: Path = PCI_DEVICES) -> tuple[str, ...]:
    """Return where the first GPU of CUDA_VISIBLE_DEVICES sits, if that counts GPUs; empty if there is none.

    The driver lists them by PCI address, as CUDA counts them with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    found = sorted(path.name for path in gpus.iterdir()) if gpus.is_dir() else []
    first = visible.partition(",")[0] or "0"
    if not first.isdecimal() or int(first) >= len(found):
        return ()
    return _place(pci / found[int(first)])


def nearness(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many buses two places share from the root on.

    >>> nearness(("pci0000:80", "80:01.0", "81:00.0"), ("pci0000:80", "80:01.0", "82:00.0"))
    2
    """
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in shared)


def mapped(host: str) -> str:
    """Return the GID of an IPv4 address, as sysfs writes it; empty for a name.

    >>> mapped("10.0.0.1")
    '0000:0000:0000:0000:0000:ffff:0a00:0001'
    """
    try:
        number = int(ipaddress.IPv4Address(host))
    except ipaddress.AddressValueError:
        return ""
    return ipaddress.IPv6Address((0xFFFF << 32) | number).exploded


def _named(ports: Sequence[RdmaPort], name: str) -> RdmaPort:
    for port in ports:
        if name in (port.device, port.name):
            return port
    known = ", ".join(port.name for port in ports) or "none"
    raise ConfigError(
        f"RDMA device {name!r} is not on this host, which has {known}; {HOW_TO_CHECK}"
    )


def _number(port: Path) -> int:
    return int(port.name)


def _read(port: Path) -> RdmaPort | None:
    """Read a port; None if it has no GID that peers could address."""
    layer = _text(port / "link_layer")
    index = _gid_index(port, layer)
    if index is None:
        return None
    device = port.parents[1]
    return RdmaPort(
        device.name,
        int(port.name),
        layer,
        _text(port / "state").partition(": ")[2],
        float(_text(port / "rate").split()[0]),
        int(_text(port / "lid") or "0", 16),
        _text(port / "gids" / str(index)),
        index,
        _place(device / "device"),
    )


def _gid_index(port: Path, layer: str) -> int | None:
    """The first GID on InfiniBand; on Ethernet of the RoCE v2 ones, if it can be one of an IPv4 address."""
    used = [*_gids(port)]
    if layer == "InfiniBand":
        return used[0][0] if used else None
    routable = [
        each for each in used if _text(port / "gid_attrs" / "types" / str(each[0])) == ROCE_V2
    ]
    routable.sort(key=lambda each: not each[1].startswith(_IPV4))
    return routable[0][0] if routable else None


def _gids(port: Path) -> Iterator[tuple[int, str]]:
    """Yield the GIDs of a port by index. A table of a thousand is filled from the front, with a few holes."""
    holes = 0
    for index in itertools.count():
        gid = _text(port / "gids" / str(index))
        if gid.strip("0:"):
            yield index, gid
        holes = 0 if gid.strip("0:") else holes + 1
        if holes > _HOLES:
            return


def _place(device: Path) -> tuple[str, ...]:
    """Return the buses from the root down to a device, without what is not PCI; empty if it has none."""
    if not device.exists():
        return ()
    return tuple(part for part in device.resolve().parts if part.startswith("pci") or ":" in part)


def _text(file: Path) -> str:
    """Return what a file of sysfs says; empty if it is not there or says nothing (an unused GID)."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
