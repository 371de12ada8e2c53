"""What machine a result was obtained on; part of every manifest."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("lambdascale", "torch", "transformers", "numpy", "pandas")


def machine() -> dict[str, object]:
    """Return processor, cores, memory and system, without naming the host."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that matter for a result."""
    return {name: version(name) for name in PACKAGES}


def _processor() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
