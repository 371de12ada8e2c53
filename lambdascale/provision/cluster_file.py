"""A cluster file: which agents on which Ray cluster, how they exchange blocks, and what their links carry.

No secret is in it: each run makes its own, and the fleet hands it to the agents.
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec
import yaml

from lambdascale.errors import ConfigError
from lambdascale.fleet.placement import Placement
from lambdascale.transport.registry import body_of


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """Where agents run, and over what.

    `link_gbps` (Gbit/s) is what a node's link carries in each direction by its make, `imposed_gbps` what
    something outside of this system holds it to, so that numbers obtained there are emulated; give at most
    one. With neither, the rate is not known.
    """

    agents: Placement = field(default_factory=Placement)
    transport: str = "tcp"
    link_gbps: float = 0.0
    imposed_gbps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("link_gbps", "imposed_gbps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give Gbit/s, or leave it out")
        if body_of(self.transport) == "shm" and self.agents.nodes > 1:
            raise ConfigError("transport shm reaches one machine only; give tcp for several nodes")
        if self.link_gbps and self.imposed_gbps:
            raise ConfigError(
                f"link_gbps is {self.link_gbps} and imposed_gbps {self.imposed_gbps}; give imposed_gbps "
                "alone if a shaper holds the links to it, else link_gbps alone"
            )


def read_cluster(path: Path) -> ClusterFile:
    """Read a cluster file; ConfigError names the file, the field, its value and what to do."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the cluster file {path} ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())})") from error
    try:
        _check_names(content, ClusterFile, "")
        _check_names(content.get("agents", {}), Placement, "agents.")
        return msgspec.convert(content, ClusterFile)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def write_cluster(path: Path, cluster: ClusterFile) -> None:
    """Write a cluster file."""
    path.write_text(yaml.safe_dump(msgspec.to_builtins(cluster)), encoding="utf-8")


def _check_names(content: Any, kind: type, where: str) -> None:
    known = [each.name for each in fields(kind)]
    if not isinstance(content, dict):
        raise ConfigError(f"{where or 'the file'} is {content!r}; give {', '.join(known)}")
    for name in content:
        if name not in known:
            raise ConfigError(f"{where}{name} is unknown; use {', '.join(known)}")
