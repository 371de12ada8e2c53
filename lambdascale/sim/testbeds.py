"""The paper's testbeds and an H200 node (paper.md, sections 6.1, h.1, h.2, h.4 and h.5).

From the paper's text, the authors' logs and vendors' figures; nothing here was measured by us. What the
authors' own software loses on top is no part of a testbed: see `experiments.recorded`.
"""

from dataclasses import replace

from lambdascale.engine.device import DeviceModel
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.machines import ANY, Hardware

WIRE_RATE = 49.2e9  # bytes/s; the one denominator of all comparisons with one copy
UVA_PCIE_GBPS = 210.4  # 26.3 GB/s, on the authors' development cluster (h.4); no part of a testbed
BANDWIDTH_EFFICIENCY = 0.8  # of the memory's peak, that a decode step reaches
FLOPS_EFFICIENCY = 0.5  # of the dense peak, that a prefill reaches
LAUNCH_S = 1e-3  # of a step: one graph launch and the scheduler
ALL_REDUCE_S = 10e-6  # of a few rows among four GPUs over NVLink

ASSUMED = (
    f"{BANDWIDTH_EFFICIENCY:.0%} of the peak memory bandwidth, {FLOPS_EFFICIENCY:.0%} of the peak "
    f"dense bf16 rate and {LAUNCH_S * 1e3:g} ms a step are assumptions of ours, to be swept"
)
NO_WARM_POOL = (
    ("process started", 3.0),  # importing torch, four processes on two cores (measured by us)
    ("context created", 0.5),  # assumed
    ("graphs captured", 2.0),  # assumed
)


def roofline(
    bandwidth: float, flops: float, num_gpus: int = 1, launch_s: float = LAUNCH_S
) -> DeviceModel:
    """Return a device of `num_gpus` GPUs of these peaks (bytes/s, FLOP/s) that reads its KV entries."""
    return DeviceModel(
        num_gpus * BANDWIDTH_EFFICIENCY * bandwidth,
        num_gpus * FLOPS_EFFICIENCY * flops,
        launch_s,
        reads_kv=True,
    )


H800 = roofline(3.35e12, 989e12)

TESTBED1 = Hardware(
    name="testbed 1",
    num_nodes=12,
    gpus_per_node=1,
    gpu_gb=84.9,
    host_gb=1000.0,
    ssd_gb=4000.0,
    link_gbps=WIRE_RATE * 8 / 1e9,
    pcie_gbps=512.0,
    ssd_gbps=40.0,
    device={ANY: H800},
    conditions=Conditions(pcie_shared=True),
    sources={
        "num_nodes": "Table 1",
        "gpus_per_node": "Table 1",
        "gpu_gb": "authors' logs: 79.11 GiB usable of an H800",
        "host_gb": "Table 1: 1 TB (the committed configuration caches in 30 GB of it)",
        "ssd_gb": "Table 1: 4 TB",
        "link_gbps": "authors' logs: warm NCCL broadcasts 49.2 GB/s to 2 to 6 nodes; 400 Gbit/s nominal",
        "pcie_gbps": "Table 1: about 64 GB/s",
        "ssd_gbps": "Table 1: about 5 GB/s",
        "device": f"vendor: H800 SXM, 3.35 TB/s, 989 TFLOP/s; {ASSUMED}",
        "conditions": "latencies as measured by us on loopback (unknown for the testbed); GPU and NIC "
        "are behind one PCIe switch (authors' logs); connected, registered, warm pool: no set-up",
    },
)

TESTBED2 = Hardware(
    name="testbed 2",
    num_nodes=6,
    gpus_per_node=4,
    gpu_gb=4 * 84.9,
    host_gb=1000.0,
    ssd_gb=4000.0,
    link_gbps=18.2 * 8,
    pcie_gbps=54.1 * 8,
    ssd_gbps=4.6 * 8,
    device={ANY: roofline(3.35e12, 989e12, 4, LAUNCH_S + 2 * 80 * ALL_REDUCE_S)},
    conditions=Conditions(pcie_shared=True),
    sources={
        "num_nodes": "Table 1",
        "gpus_per_node": "Table 1",
        "gpu_gb": "authors' logs: 79.11 GiB usable of an H800; all four of a host",
        "host_gb": "Table 1: 1 TB",
        "ssd_gb": "Table 1: 4 TB",
        "link_gbps": "authors' logs: 70B takes 465 ms a round to 2 nodes and 546 ms to 4, of which 30.8 ms "
        "are software; the path of one NIC to four GPUs that lie behind other sockets (19.9 and 16.8 GB/s)",
        "pcie_gbps": "authors' logs: 70B from host memory in 2.55 s; Table 1: about 64 GB/s",
        "ssd_gbps": "authors' logs: 70B from SSD in 30 s; Table 1: about 5 GB/s",
        "device": f"as testbed 1, four GPUs and two all-reduces a layer of 10 µs (assumed); {ASSUMED}",
        "conditions": "as testbed 1",
    },
)

TESTBED2_NVLINK = replace(
    TESTBED2,
    name="testbed 2, siblings over NVLink",
    link_gbps=33.4 * 8,
    sources={
        **TESTBED2.sources,
        "link_gbps": "authors' logs: NCCL to 4 nodes with 4 GPUs each by one NIC, which feeds one GPU; the "
        "others get the bytes from it over NVLink",
    },
)

H200 = Hardware(
    name="H200 node",
    num_nodes=8,
    gpus_per_node=1,
    gpu_gb=141.0,
    host_gb=250.0,
    ssd_gb=3840.0,
    link_gbps=3600.0,
    pcie_gbps=512.0,
    ssd_gbps=52.0,
    device={ANY: roofline(4.8e12, 989e12)},
    sources={
        "num_nodes": "one host of eight GPUs; each is a node",
        "gpus_per_node": "each GPU is a node",
        "gpu_gb": "vendor, nominal: 141 GB",
        "host_gb": "vendor, nominal: 2 TB a host, an eighth of it",
        "ssd_gb": "vendor, nominal: eight drives of 3.84 TB a host, one each",
        "link_gbps": "vendor, nominal: NVLink 4, 450 GB/s each way",
        "pcie_gbps": "vendor, nominal: PCIe 5 ×16, 64 GB/s",
        "ssd_gbps": "assumed: 6.5 GB/s of a PCIe 4 ×4 drive",
        "device": f"vendor, nominal: 4.8 TB/s, 989 TFLOP/s; {ASSUMED}",
        "conditions": "as testbed 1, but NVLink does not cross PCIe",
    },
)

TESTBEDS = {each.name: each for each in (TESTBED1, TESTBED2, TESTBED2_NVLINK, H200)}
