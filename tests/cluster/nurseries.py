"""The processes of our fleets on all hosts of this machine."""

import psutil
from leftovers import cmdline

ZYGOTE = "lambdascale.fleet.zygote"


def nurseries() -> list[psutil.Process]:
    """Nurseries, and the agents forked by them."""
    return [process for process in psutil.process_iter() if ZYGOTE in cmdline(process)]
