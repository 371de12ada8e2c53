"""The systems that are compared, as values on one substrate (paper.md b.2, c.4–c.8, d.2–d.4, 6.5).

They differ in data alone: same agents, same links, same engine, same router. What could not be expressed so
is said in `about`, and which numbers were fitted (see `recorded`).
"""

from dataclasses import replace

from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments import recorded
from lambdascale.experiments.system import System
from lambdascale.policy import ScalingPolicy

AUTHORS = ScalingPolicy("authors", poll_s=1.0, concurrent=False)
HOST_POLL_S = 0.5  # the period of the authors' polls if models begin in host memory (paper.md d.4)
EVENT_DRIVEN = ScalingPolicy("concurrency", target=1.0, idle_s=1.0)  # idle as long as a poll takes

BASELINE = SystemSpec(  # what the paper's baselines share: a model serves once it is all there
    execute_while_load=False,
    shifted_loads=False,
    partial_sources=False,
    gpu_keep_alive_s=0.0,
    kv_switch="recompute",
    slow_factor=None,
)
FROM_GPUS = replace(  # and if no GPU has it, from the node's own SSD
    BASELINE, sources=("gpu",), demote=False, host_keep_alive_s=0.0
)

SYSTEMS: dict[str, System] = {
    s.spec.name: s
    for s in (
        System(
            SystemSpec(
                name="lambdascale-paper",
                algorithm="kway",
                barrier=True,
                window=1,
                sources=("gpu", "host"),
                partial_sources=False,
                gpu_keep_alive_s=0.0,
                kv_switch="recompute",
                switch="group",
                lock_step=True,
                message_s=recorded.MESSAGE_S,
                hop_messages=2,
                max_rate=recorded.LAMBDASCALE_RATE,
                copy_to_host=True,
                pinned_hosts=2,
                slow_factor=None,
            ),
            AUTHORS,
            16,
            "The authors' system as their code has it: binomial pipeline per sub-group with k-way order, a "
            "round after the other behind a barrier, one read in flight, execution pipelines in lock-step "
            "whose every hop goes through the manager, a mode switch of the whole scale-out at once by "
            "recomputing KV, a host copy of what was received, copies on the first two nodes that never "
            "expire (for no other system: set pinned_hosts to 0 to compare alike), one scale-out at a time. "
            "Differs from the code: Algorithm 2 decides who forms a pipeline, not a search for planned "
            "sizes, and our router chooses among servers. Calibrated on the authors' 7B and 13B rounds at 4 "
            "and 8 nodes: max_rate 42.1 GB/s, and message_s, half of the 6.3 ms that a round takes beyond "
            "its bytes (a report to the manager, a command from it). That a hop costs two such messages is "
            "their protocol (b.2); that they cost as much as a round's is assumed.",
            "paper.md b.2, c.4–c.8, d.2–d.4, g.13, h.1",
        ),
        System(
            SystemSpec(name="lambdascale", algorithm="circulant", gpu_keep_alive_s=0.0),
            EVENT_DRIVEN,
            "chosen",
            "Ours: the round-optimal circulant schedule with contiguous orders, as few blocks as are "
            "predicted to be within 2 % of the fastest, sends driven by what has arrived, two in flight "
            "per node, free-running pipelines that hand activations on directly, each node switching by "
            "itself with KV moved or recomputed by cost, scale-outs that begin when a request does and run "
            "side by side. An idle instance goes after 1 s, as long as the authors' poll leaves one. "
            "Nothing is fitted.",
            "architecture.md; METHODOLOGY.md",
        ),
        System(
            replace(
                FROM_GPUS,
                name="faasnet",
                algorithm="tree",
                barrier=True,
                window=1,
                max_rate=recorded.FAASNET_RATE,
            ),
            AUTHORS,
            16,
            "FaaSNet with GPUDirect, as the authors built it: a binary tree whose members send every second "
            "round, a barrier per round; from GPUs, and if none holds the model every node reads its own "
            "SSD. Calibrated on the authors' 7B and 13B rounds at 4 and 8 nodes: max_rate 38.2 GB/s and no "
            "time per round beyond its bytes.",
            "paper.md 6.5, h.1",
        ),
        System(
            replace(FROM_GPUS, name="nccl", algorithm="ring", setup_s=recorded.NCCL_GROUPS),
            AUTHORS,
            256,
            "NCCL's ring broadcast in a group that is formed for each scale-out. Replayed: setup_s is what "
            "the authors' records leave beyond the bytes, between 0.18 s and 0.69 s for 7B and 13B; it also "
            "holds their calls per tensor and barriers per block. 256 blocks stand for NCCL's finer slices "
            "(N - 2 of them are above line rate: 2 % at 8 nodes). The sources go on serving: in the authors' "
            "runs they stop, and sleep for as long as their steps would take, which is the same in time.",
            "paper.md 6.5, 6.6, h.2",
        ),
        System(
            replace(FROM_GPUS, name="nccl-warm", algorithm="ring"),
            AUTHORS,
            256,
            "The same with groups that exist already, which nobody has for nodes that are yet to be chosen: "
            "line rate, whatever the number of nodes. Nothing is fitted. For 70B on one port the authors "
            "measured 33.4 GB/s in all, while one GPU's path gives about 18: see TESTBED2_NVLINK.",
            "paper.md h.2",
        ),
        System(
            replace(FROM_GPUS, name="star", algorithm="star", max_sources=1),
            AUTHORS,
            16,
            "Today's practice: all new nodes copy from one seed (SGLang R-Fork, vLLM, NIXL and Mooncake "
            "stores), at line rate, without a barrier; SSD if there is no seed. Nothing is fitted.",
            "peers.md",
        ),
        System(
            replace(BASELINE, name="serverlessllm", sources=(), copy_to_host=True),
            AUTHORS,
            16,
            "Local caches only: a node loads from its own host memory, else from its SSD, in order, and "
            "serves when it has all of it; what it has loaded stays in host memory for the keep-alive. As "
            "re-implemented by the authors, without overhead of Ray Serve.",
            "paper.md 6.5",
        ),
        System(
            SystemSpec(
                name="blitzscale",
                algorithm="chain",
                order="none",
                sources=("gpu", "host"),
                shifted_loads=False,
                gpu_keep_alive_s=0.0,
                kv_switch="recompute",
                slow_factor=None,
            ),
            EVENT_DRIVEN,
            "layers",
            "BlitzScale's chain multicast, layer by layer, from GPUs or host memory, with our event-driven "
            "policy. Limitation: its live scaling is missing. There an overloaded source executes the "
            "remaining layers for requests that began on a receiver with the first ones; here receivers "
            "form pipelines among themselves only, and in layer order none has what an earlier one lacks, so "
            "nothing is served before a copy is complete. Read its first tokens as an upper bound.",
            "OSDI'25; peers.md",
        ),
        System(
            replace(BASELINE, name="ideal", algorithm="star", instant=True),
            AUTHORS,
            1,
            "A bound: loads take no time from any tier; control messages, decisions and decode take what "
            "they take. As the authors' ideal, whose transfers are acknowledged at once.",
            "paper.md 6.5",
        ),
    )
}


def system(name: str) -> System:
    """Return a system by name; ConfigError lists the known ones."""
    if name not in SYSTEMS:
        raise ConfigError(f"system {name!r} is unknown; use one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
