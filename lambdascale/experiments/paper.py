"""The paper's testbeds as numbers that simulations start from (paper.md, sections 6.1, h.4 and h.5).

From the paper's text and the authors' logs and code; nothing here was measured by us.
"""

from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.sim.models import nominal_model

DTYPE = "float16"
LINK_GBPS = 400.0  # one InfiniBand port per node
PCIE_GBPS = 512.0  # host memory to GPU, 64 GB/s
UVA_PCIE_GBPS = 210.4  # the same on the authors' development cluster, 26.3 GB/s
SSD_GBPS = 40.0  # 5 GB/s
DECODE_S = {"llama-2-7b": 0.014, "llama-2-13b": 0.026, "llama-2-70b": 0.140}  # one step
STEPS = 107  # of one request
FLOPS = 4e14  # steps of few tokens wait for memory, not for this


def decode_s(model: str) -> float:
    """Return the seconds of a decode step; a fine-tuned copy takes as long as its original."""
    shape = model.partition("#")[0]
    if shape not in DECODE_S:
        raise ConfigError(f"model {model!r} is not the paper's; use one of {', '.join(DECODE_S)}")
    return DECODE_S[shape]


def device(model: str, step_s: float | None = None) -> DeviceModel:
    """Return the device whose decode step of `model` takes `step_s` (None: as in the paper)."""
    layout = nominal_model(model, DTYPE).layout
    read = layout.nbytes - layout.part_nbytes(0)  # the embedding is only looked up
    return DeviceModel(bandwidth=read / (step_s or decode_s(model)), flops=FLOPS)
