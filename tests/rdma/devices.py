"""The RDMA devices of this machine as sysfs shows them, and what can be done to a wire between two."""

import ipaddress
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

DEVICES = Path("/sys/class/infiniband")
INTERFACES = Path("/sys/class/net")
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Device:
    """One port of a device: the index of its GID for RoCE v2, the address in that GID, its interface."""

    name: str
    port: int
    gid_index: int
    address: str
    interface: str

    @property
    def active(self) -> bool:
        state = DEVICES / self.name / "ports" / str(self.port) / "state"
        return state.read_text().strip().endswith("ACTIVE")


@dataclass(frozen=True, slots=True)
class Wire:
    """Two devices at the ends of a pair of veth."""

    ends: tuple[Device, Device]

    @property
    def num_bytes(self) -> int:
        """How many bytes have crossed it so far, in both directions."""
        counters = (INTERFACES / end.interface / "statistics/rx_bytes" for end in self.ends)
        return sum(int(counter.read_text()) for counter in counters)

    @property
    def num_lost(self) -> int:
        """How many frames it has lost since it became lossy."""
        shown = (call("tc", "-s", "qdisc", "show", "dev", end.interface) for end in self.ends)
        return sum(int(count) for text in shown for count in re.findall(r"dropped (\d+)", text))

    def lossy(self, percent: float) -> None:
        """Lose this share of the frames, in both directions."""
        for end in self.ends:
            discipline = ("root", "netem", "loss", f"{percent}%", "limit", "100000")
            call("tc", "qdisc", "replace", "dev", end.interface, *discipline)

    def cut(self) -> None:
        """Take the link down: nothing crosses any more, and both ports go down."""
        call("ip", "link", "set", self.ends[0].interface, "down")

    def restore(self) -> None:
        """Make the wire whole again, and wait until both ports are active with their GID."""
        for end in self.ends:
            call("tc", "qdisc", "replace", "dev", end.interface, "root", "noqueue")
            call("ip", "link", "set", end.interface, "up")
        deadline = time.monotonic() + PATIENCE_S
        while not set(self.ends) <= set(find_devices()):
            assert time.monotonic() < deadline, "the wire did not come up again"
            time.sleep(0.05)


def find_devices() -> list[Device]:
    """Return every active port that has a GID for RoCE v2 over IPv4, by name."""
    ports = sorted(DEVICES.glob("*/ports/*"), key=str)
    return [device for port in ports if (device := read_port(port)) and device.active]


def find_wire(devices: list[Device]) -> Wire | None:
    for first in devices:
        for second in devices:
            if first.interface != second.interface and peers(first.interface, second.interface):
                return Wire((first, second))
    return None


def read_port(port: Path) -> Device | None:
    """Read the first GID of a port that begins `::ffff:` and is one of RoCE v2."""
    for path in sorted((port / "gids").iterdir(), key=lambda path: int(path.name)):
        mapped = ipaddress.IPv6Address(path.read_text().strip()).ipv4_mapped
        if mapped and read(port / "gid_attrs/types" / path.name) == "RoCE v2":
            interface = read(port / "gid_attrs/ndevs" / path.name)
            name, number = port.parts[-3], int(port.name)
            return Device(name, number, int(path.name), str(mapped), interface)
    return None


def peers(one: str, other: str) -> bool:
    """Is each interface the other end of the other?"""
    return all(
        read(INTERFACES / a / "iflink") == read(INTERFACES / b / "ifindex")
        for a, b in ((one, other), (other, one))
    )


def read(path: Path) -> str:
    """Return what a file of sysfs says; those of an empty GID cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def call(*argv: str) -> str:
    """Return what a tool printed; fail with what it complained about."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
    return done.stdout
