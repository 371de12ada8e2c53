"""A testbed as one value: sizes, rates, devices and conditions, each with where its number comes from.

`testbeds` has the paper's; `02_calibrate` writes the file of another machine, which every notebook accepts.
A node is what holds one instance of a model: one GPU, or a host of four for 70B (paper.md c.9, 6.1). All
sizes, rates and devices are those of a node, so of all its GPUs together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.sim.conditions import Conditions

ANY = "any"  # the device of models that have none of their own
COUNTS = ("num_nodes", "gpus_per_node")
SIZES = ("gpu_gb", "host_gb", "ssd_gb")
RATES = ("link_gbps", "pcie_gbps", "ssd_gbps")


@dataclass(frozen=True, slots=True)
class Hardware:
    """`num_nodes` equal nodes: sizes in GB (10⁹ bytes), rates in Gbit/s.

    `link_gbps` is what the path between GPUs of two nodes gives, each way; `pcie_gbps` that from host memory
    to GPU. `device`: model → its device, or ANY. `sources`: field → where its number comes from.
    """

    name: str
    num_nodes: int
    gpus_per_node: int
    gpu_gb: float
    host_gb: float
    ssd_gb: float
    link_gbps: float
    pcie_gbps: float
    ssd_gbps: float
    device: Mapping[str, DeviceModel]
    conditions: Conditions = field(default_factory=Conditions)
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in (*SIZES, *RATES):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                unit = "gigabytes" if name in SIZES else "Gbit/s"
                raise ConfigError(f"{name} is {value}; give {unit}, more than 0")
        if not self.device:
            raise ConfigError(f"device is empty; give each model one, or {ANY!r} for all")
        _check_known("sources", self.sources, Hardware)

    def device_of(self, model: str) -> DeviceModel:
        """Return the device of a model, of which a fine-tuned copy has that of its original."""
        for name in (model, model.partition("#")[0], ANY):
            if name in self.device:
                return self.device[name]
        known = ", ".join(self.device)
        raise ConfigError(f"{self.name} has no device for {model!r}; it has {known}")

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        Path(path).write_bytes(text + b"\n")


def load(path: str | Path) -> Hardware:
    """Read what `save` wrote; raises ConfigError that names the field and what is wrong with it."""
    try:
        found = msgspec.json.decode(Path(path).read_bytes())
        _check_fields(found)
        return msgspec.convert(found, Hardware)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); name a file") from error
    except (msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"{path} describes no hardware: {error}") from error


def _check_fields(found: Any) -> None:
    """Raise ConfigError for a field that nobody knows: msgspec would not notice."""
    if not isinstance(found, dict):
        return
    _check_known("it", found, Hardware)
    for what, nested, kind in (("conditions", [found.get("conditions")], Conditions),
                               ("device", _values(found.get("device")), DeviceModel)):  # fmt: skip
        for value in nested:
            if isinstance(value, dict):
                _check_known(what, value, kind)


def _values(found: Any) -> list[Any]:
    return list(found.values()) if isinstance(found, dict) else []


def _check_known(what: str, given: Mapping[str, Any], kind: type) -> None:
    known = [known.name for known in fields(kind)]
    for name in given:
        if name not in known:
            raise ConfigError(f"{what} has the field {name!r}; use {', '.join(known)}")
