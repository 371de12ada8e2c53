"""What one node says of itself before anything runs on it: GPU, NIC, limits, and how bytes reach a GPU.

Read from /proc and /sys (Linux); judged elsewhere.
"""

import resource
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.fleet.addresses import interface_addresses
from lambdascale.transport.rdma.gpu import DMA_BUF, PEER_MEM, STAGED
from lambdascale.transport.rdma.ports import RdmaPort, choose, discover

GPUS = Path("/proc/driver/nvidia/gpus")
DRIVER = Path("/proc/driver/nvidia/version")
PEER_MODULE = Path("/sys/module/nvidia_peermem")
NETWORK = Path("/sys/class/net")
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Facts:
    """One node: `rate_gbps` is None if the NIC states none, `memlock` bytes or UNLIMITED.

    `rdma` names the ports that `transport: rdma` would use unless it names others; empty if there is none.
    """

    address: str
    gpus: tuple[str, ...]
    nic: str
    rdma: str
    state: str
    rate_gbps: float | None
    memlock: int
    gpudirect: str
    has_image: bool


def facts_of(address: str, image: str) -> Facts:
    """Return the facts of the node whose interface has `address`; `image` is a file it may have."""
    nic = next((n for n, a in interface_addresses().items() if a == address), "")
    rails, gpus = _rails(address), _gpus()
    return Facts(
        address,
        gpus,
        nic,
        " ".join(port.name for port in rails),
        _read(NETWORK / nic / "operstate") if nic else "",
        rails[0].rate_gbps if rails else _rate_of(nic),
        resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        gpudirect_path(bool(gpus), bool(rails), _read(DRIVER), PEER_MODULE.is_dir()),
        Path(image).is_file(),
    )


def gpudirect_path(has_gpu: bool, has_rdma: bool, driver: str, has_peer_mem: bool) -> str:
    """Return how bytes from the NIC reach a GPU, and why that way.

    >>> gpudirect_path(True, True, "NVRM version: … Open Kernel Module …", False)
    'dma-buf (open kernel module)'
    """
    if not has_gpu:
        return "none (no GPU)"
    if not has_rdma:
        return f"{STAGED} (no RDMA device)"
    if "Open Kernel Module" in driver:
        return f"{DMA_BUF} (open kernel module)"
    if has_peer_mem:
        return f"{PEER_MEM} (nvidia_peermem is loaded)"
    return f"{STAGED} (neither open kernel module nor nvidia_peermem)"


def _gpus() -> tuple[str, ...]:
    models = []
    for path in sorted(GPUS.glob("*/information")):
        lines = [line for line in _read(path).splitlines() if line.startswith("Model:")]
        models += [line.partition(":")[2].strip() for line in lines]
    return tuple(models)


def _rails(address: str) -> tuple[RdmaPort, ...]:
    """The RDMA ports that a node at an address would use."""
    try:
        return choose(discover(), address)
    except ConfigError:
        return ()


def _rate_of(nic: str) -> float | None:
    speed = _read(NETWORK / nic / "speed") if nic else ""  # in Mbit/s; −1 if nothing is known
    return int(speed) / 1000 if speed.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # a file that is not there, or a virtual interface that has no speed
        return ""
