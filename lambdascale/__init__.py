"""λScale: grow a large language model from k nodes to N, and serve while it is still in flight.

    from lambdascale import RunSpec, run
    result = run(RunSpec(prompts=("What is the capital of France?",)))

The public names are found on first use, so that `import lambdascale` loads no other library.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdascale.config import ScaleSpec, SystemSpec
    from lambdascale.engine.device import DeviceModel
    from lambdascale.experiments.results import RunResult
    from lambdascale.experiments.run import run, run_all
    from lambdascale.experiments.spec import RunSpec
    from lambdascale.experiments.trace_run import run_trace
    from lambdascale.experiments.trace_spec import TraceSpec
    from lambdascale.policy import ScalingPolicy
    from lambdascale.workload.request import Sampling

__version__ = "0.1.0"
__all__ = [
    "DeviceModel",
    "RunResult",
    "RunSpec",
    "Sampling",
    "ScaleSpec",
    "ScalingPolicy",
    "SystemSpec",
    "TraceSpec",
    "run",
    "run_all",
    "run_trace",
]

_HOMES = {
    "DeviceModel": "lambdascale.engine.device",
    "RunResult": "lambdascale.experiments.results",
    "RunSpec": "lambdascale.experiments.spec",
    "Sampling": "lambdascale.workload.request",
    "ScaleSpec": "lambdascale.config",
    "ScalingPolicy": "lambdascale.policy",
    "SystemSpec": "lambdascale.config",
    "TraceSpec": "lambdascale.experiments.trace_spec",
    "run": "lambdascale.experiments.run",
    "run_all": "lambdascale.experiments.run",
    "run_trace": "lambdascale.experiments.trace_run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
