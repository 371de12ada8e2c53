"""The Debian packages that the virtual machine needs: which are missing, and how they get here.

Installed are qemu and a few tools; the kernel and pyverbs are only unpacked into a cache folder, by
`download`. Nothing here knows any other distribution than Debian: `obstacle` says so.
"""

import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lambdascale.errors import ConfigError

NEEDED = ("qemu-system-x86", "busybox-static", "iproute2", "ibverbs-providers", "librdmacm1")
PATIENCE_S = 240.0
OTHERWISE = "use a machine with an RDMA device (or `rdma link add NAME type rxe`) and pyverbs"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of this machine decides whether the virtual machine can run."""

    distribution: str
    processor: str
    root: bool
    lacking: tuple[str, ...]


def surroundings() -> Surroundings:
    """Return those of this machine; all packages are lacking where there is no dpkg."""
    try:
        distribution = platform.freedesktop_os_release()["ID"]
    except OSError:
        distribution = platform.system()
    return Surroundings(distribution, platform.machine(), os.geteuid() == 0, _lacking(distribution))


def obstacle(here: Surroundings) -> str:
    """Return why the virtual machine cannot run here and what to do, in one line; empty if it can."""
    if here.distribution != "debian":
        return f"the system is {here.distribution}, not Debian; {OTHERWISE}"
    if here.processor != "x86_64":
        return f"the processor is {here.processor}, not x86_64; {OTHERWISE}"
    if here.lacking and not here.root:
        return f"missing packages; as root: apt-get install {' '.join(here.lacking)}"
    return ""


def install(names: Sequence[str]) -> None:
    """Install packages, as root; raises ConfigError with what apt said if it cannot."""
    apt("install", "--yes", "--no-install-recommends", *names)


def download(name: str, target: Path) -> None:
    """Unpack a package into the folder `target` without installing it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        apt("download", name, folder=Path(scratch))
        (archive,) = Path(scratch).glob("*.deb")
        _call(("dpkg", "-x", str(archive), str(target)), target.parent)


def apt(*arguments: str, folder: Path | None = None) -> None:
    """Run apt-get quietly."""
    _call(("apt-get", "-qq", *arguments), folder or Path.cwd())


def depends(name: str) -> str:
    """Return the first package that `name` depends on; raises ConfigError if apt knows none."""
    said = _call(("apt-cache", "depends", "--important", name), Path.cwd())
    for line in said.splitlines():
        if line.strip().startswith("Depends:"):
            return line.split()[1]
    raise ConfigError(f"apt knows no {name}; as root: apt-get update")


def _lacking(distribution: str) -> tuple[str, ...]:
    if distribution != "debian":
        return NEEDED
    return tuple(name for name in NEEDED if not _installed(name))


def _installed(name: str) -> bool:
    query = ("dpkg-query", "--show", "--showformat", "${db:Status-Status}", name)
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def _call(argv: Sequence[str], folder: Path) -> str:
    """Run a tool and return what it printed; raises ConfigError with its last line if it fails."""
    environment = os.environ | QUIET
    try:
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{error}; see whether apt works on this machine") from error
    if done.returncode:
        said = (done.stderr.strip() or "failed").splitlines()[-1]
        raise ConfigError(f"{' '.join(argv)}: {said}; try `apt-get update` as root")
    return done.stdout
