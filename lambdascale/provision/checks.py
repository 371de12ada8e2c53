"""Preflight's judgement: what each node needs, whether it has it, and what to do if not. Pure."""

from dataclasses import dataclass

from lambdascale.provision.facts import UNLIMITED, Facts
from lambdascale.transport.rdma.gpu import STAGED
from lambdascale.transport.registry import body_of
from lambdascale.units import gigabits

MAX_OFFSET_S = 0.05
RATE_SHARE = 0.8  # of what the cluster file says that a link carries
RDMA = ("rdma", "rdma-polling", "auto")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cluster file asks of a node; `image` is the file of a model, `rate` bytes/s or 0."""

    transport: str
    gpus: int
    rate: float
    image: str


@dataclass(frozen=True, slots=True)
class Probed:
    """One node as probed: the facts, its clock against the driver's (± uncertainty), its slowest link."""

    node: int
    facts: Facts
    offset_s: float
    uncertain_s: float
    slowest: float | None  # bytes/s of the slowest link from here; None: there is no other node


@dataclass(frozen=True, slots=True)
class Check:
    """One cell of the table; `advice` is empty if all is well."""

    name: str
    shown: str
    advice: str = ""


def checks_of(probed: Probed, wanted: Wanted) -> tuple[Check, ...]:
    """Return all checks of one node."""
    facts = probed.facts
    return (
        Check("node", f"{probed.node} {facts.address}"),
        _gpu(facts, wanted),
        Check("NIC", " ".join((facts.nic or "?", facts.rdma)).strip(), _no_rdma(facts, wanted)),
        _link(facts),
        _memlock(facts, wanted),
        Check("GPUDirect", facts.gpudirect, _staged(facts, wanted)),
        _clock(probed),
        _bandwidth(probed, wanted),
        _image(facts, wanted),
    )


def _gpu(facts: Facts, wanted: Wanted) -> Check:
    short = len(facts.gpus) < wanted.gpus
    shown = f"{len(facts.gpus)} × {facts.gpus[0]}" if facts.gpus else "none"
    advice = f"{wanted.gpus} GPUs are wanted; lower agents.gpus, or install the NVIDIA driver"
    return Check("GPU", shown, advice if short else "")


def _no_rdma(facts: Facts, wanted: Wanted) -> str:
    missing = body_of(wanted.transport).startswith("rdma") and not facts.rdma
    return "no active RDMA port: run `rdma link`; or give transport: tcp" * missing


def _link(facts: Facts) -> Check:
    rate = "" if facts.rate_gbps is None else f" {facts.rate_gbps:g} Gbit/s"
    is_up = facts.state == "up"
    advice = f"bring it up: ip link set {facts.nic or 'NIC'} up, and see the cable and the switch"
    loopback = facts.nic == "lo"  # whose state is unknown
    return Check("link", (facts.state or "?") + rate, "" if is_up or loopback else advice)


def _memlock(facts: Facts, wanted: Wanted) -> Check:
    unlimited = facts.memlock == UNLIMITED
    shown = "unlimited" if unlimited else f"{facts.memlock / 2**20:.0f} MiB"
    advice = "RDMA needs locked memory; run `ulimit -l unlimited` before `ray start`"
    return Check(
        "memlock", shown, "" if unlimited or body_of(wanted.transport) not in RDMA else advice
    )


def _staged(facts: Facts, wanted: Wanted) -> str:
    staged = (
        body_of(wanted.transport) in RDMA
        and facts.gpudirect.startswith(STAGED)
        and bool(facts.rdma)
    )
    return "use the open kernel module (NVIDIA 515 or newer), or modprobe nvidia_peermem" * staged


def _clock(probed: Probed) -> Check:
    shown = f"{probed.offset_s * 1e3:+.1f} ± {probed.uncertain_s * 1e3:.1f} ms"
    late = abs(probed.offset_s) - probed.uncertain_s > MAX_OFFSET_S
    return Check("clock", shown, "synchronise it: start chronyd or systemd-timesyncd" * late)


def _bandwidth(probed: Probed, wanted: Wanted) -> Check:
    if probed.slowest is None:
        return Check("slowest link", "-")
    low = probed.slowest < RATE_SHARE * wanted.rate
    advice = (
        f"the cluster file says {gigabits(wanted.rate):g} Gbit/s; see the cable, the switch, "
        "agents.network, or correct link_gbps"
    )
    shown = f"{gigabits(probed.slowest):.2f} Gbit/s ({wanted.transport})"
    return Check("slowest link", shown, advice if low else "")


def _image(facts: Facts, wanted: Wanted) -> Check:
    advice = (
        f"{wanted.image} is not there; put the cache on a file system that all nodes share, or copy it "
        "(rsync -a)"
    )
    return Check(
        "model", "there" if facts.has_image else "missing", "" if facts.has_image else advice
    )
