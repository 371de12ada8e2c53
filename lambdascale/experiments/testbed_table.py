"""The paper's Table 1: testbeds side by side, where each number comes from, and what the rates mean.

Bytes of a model over a rate are the least that loading one whole copy takes. What a scale-out adds to that,
or saves by loading in parts, is the subject of the other figures.
"""

import pandas as pd

from lambdascale.model.nominal import NOMINAL
from lambdascale.sim.engine_spec import DTYPE
from lambdascale.sim.hardware import TESTBED1, TESTBED2, Hardware, load
from lambdascale.sim.models import nominal_model
from lambdascale.units import gbps, gigabytes

MODELS = {TESTBED1.name: ("llama-2-7b", "llama-2-13b"), TESTBED2.name: ("llama-2-70b",)}
PATHS = {"link_gbps": "another node", "pcie_gbps": "host memory", "ssd_gbps": "SSD"}
ROWS = {
    "num_nodes": "nodes",
    "gpus_per_node": "GPUs per node",
    "gpu_gb": "GPU memory per node (GB)",
    "host_gb": "host memory per node (GB)",
    "ssd_gb": "SSD per node (GB)",
    "link_gbps": "from another node (GB/s)",
    "pcie_gbps": "host memory to GPU (GB/s)",
    "ssd_gbps": "SSD (GB/s)",
}
PAPER = {  # of testbeds 1 and 2, as its table says it
    "num_nodes": ("12", "6"),
    "gpus_per_node": ("1 H800", "4 H800"),
    "gpu_gb": ("", ""),
    "host_gb": ("1 TB", "1 TB"),
    "ssd_gb": ("4 TB NVMe", "4 TB NVMe"),
    "link_gbps": ("one 400 Gb/s NIC", "one 400 Gb/s NIC"),
    "pcie_gbps": ("≈64", "≈64"),
    "ssd_gbps": ("≈5", "≈5"),
}


def shown(more: str = "") -> list[Hardware]:
    """Return the paper's two, and that of the hardware file `more` if one is named; raises ConfigError."""
    return [TESTBED1, TESTBED2, *([load(more)] if more else [])]


def table(testbeds: list[Hardware]) -> pd.DataFrame:
    """Return one row per property: what the paper says of its testbeds, and what each is here."""
    columns: dict[str, list[str]] = {"": list(ROWS.values())}
    for number, each in enumerate(testbeds):
        if each in (TESTBED1, TESTBED2):
            columns[f"{each.name}, paper"] = [PAPER[name][number] for name in ROWS]
        columns[each.name] = [_shown(each, name) for name in ROWS]
    return pd.DataFrame(columns)


def sources(testbeds: list[Hardware]) -> pd.DataFrame:
    """Return one row per number: `testbed`, `field`, and the text that says where it comes from."""
    rows = [(each.name, name, text) for each in testbeds for name, text in each.sources.items()]
    return pd.DataFrame(rows, columns=["testbed", "field", "source"])


def sources_text(frame: pd.DataFrame) -> str:
    """Return a frame of `sources` as text, one number a line."""
    rows = zip(frame["testbed"], frame["field"], frame["source"], strict=True)
    return "\n".join(f"{testbed:<10} {name:<14} {text}" for testbed, name, text in rows)


def load_floors(testbeds: list[Hardware]) -> pd.DataFrame:
    """Return the least seconds for one whole copy: `testbed`, `model`, where it comes `from`, `seconds`.

    On a testbed of the paper its models; elsewhere those of them that a node's GPUs can hold.
    """
    rows = [
        (each.name, model, place, nbytes / gbps(getattr(each, name)))
        for each in testbeds
        for model in MODELS.get(each.name, NOMINAL)
        if gigabytes(nbytes := nominal_model(model, DTYPE).layout.nbytes) <= each.gpu_gb
        for name, place in PATHS.items()
    ]
    return pd.DataFrame(rows, columns=["testbed", "model", "from", "seconds"])


def _shown(hardware: Hardware, name: str) -> str:
    value = getattr(hardware, name)
    return f"{gigabytes(gbps(value)) if name in PATHS else value:g}"
