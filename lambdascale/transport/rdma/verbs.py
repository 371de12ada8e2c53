"""pyverbs, and what differs between its versions 44 and 59. Only this package imports it, and only when used.

pyverbs belongs to the distribution's rdma-core (or to OFED); pip offers a source package that rarely fits.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from lambdascale.errors import ConfigError

HOW_TO_INSTALL = (
    "install python3-pyverbs and ibverbs-providers (Debian, Ubuntu; python3-pyverbs of rdma-core or OFED "
    "elsewhere) for the Python that runs λScale, then try: python -c 'import pyverbs.device'"
)
_EVENTS = "infinibandevent"  # how /proc names a descriptor that verbs made

try:
    from pyverbs import addr, cq, device, mr, pd, qp, wr
    from pyverbs.pyverbs_error import PyverbsError, PyverbsRDMAError
except ImportError as error:
    raise ConfigError(f"rdma needs pyverbs ({error}); {HOW_TO_INSTALL}") from error


def _constants() -> ModuleType:
    try:
        from pyverbs import libibverbs_enums as found  # 50 and later
    except ImportError:
        from pyverbs import enums as found
    return found  # type: ignore[no-any-return]


e: Any = _constants()
Failure = (PyverbsError, PyverbsRDMAError)

__all__ = ["Failure", "addr", "cq", "device", "e", "event_descriptors", "mr", "pd", "qp", "wr"]


def event_descriptors() -> frozenset[int]:
    """Return the descriptors of this process on which verbs tells of events.

    pyverbs names that of a completion channel only from 57 on, and never that of a device.
    """
    found = (entry for entry in Path("/proc/self/fd").iterdir() if _names_events(entry))
    return frozenset(int(entry.name) for entry in found)


def _names_events(entry: Path) -> bool:
    try:
        return _EVENTS in os.readlink(entry)  # noqa: PTH115 - what it names is no path
    except FileNotFoundError:
        return False  # the descriptor of the listing itself
