"""The options of `lambdascale run`, and the specification they describe.

Rates that are not given are those of the paper's testbed 1 divided by 40 (400 Gbit/s, 64 GB/s, 5 GB/s:
paper.md 6.1), so that loads are as long, compared with each other, as there. On a cluster they are its own.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lambdascale.cli.options import number, positive
from lambdascale.config import KV_SWITCHES, SystemSpec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.policy import POLICIES, ScalingPolicy
from lambdascale.workload.replay import Replay
from lambdascale.workload.trace import TraceRow, digest_of

LINK_GBPS, PCIE_GBPS, SSD_GBPS = 10.0, 12.8, 1.0

Row = tuple[str, Callable[[str], object], object, str]  # option and metavar, type, default, help

WORKLOAD: tuple[Row, ...] = (
    ("--speedup X", positive, 1.0, "arrivals X times as fast"),
    ("--scale X", positive, 1.0, "X times as many requests in the same time"),
    ("--max-prompt T", int, 64, "tokens of a prompt, at most; longer ones are cut"),
    ("--max-output T", int, 32, "tokens of an answer, at most"),
    ("--prompt-tokens T", int, None, "tokens of every prompt, whatever the trace says"),
    ("--output-tokens T", int, None, "tokens of every answer, whatever the trace says"),
    ("--limit R", int, None, "only the first R requests"),
    ("--seed S", int, 0, "seed of the made-up prompts, and of a generated trace"),
)
CLUSTER: tuple[Row, ...] = (
    ("--nodes N", int, 4, "nodes of the cluster"),
    ("--gpu-gb GB", number, None, "for models on each GPU; else the largest model fits"),
    ("--host-gb GB", number, None, "for models in each host memory; else all models fit"),
    ("--ssd-gb GB", number, None, "for models on each SSD; else all models fit"),
    ("--initial-gpu K", int, 0, "nodes whose GPUs hold the models at first"),
    ("--initial-host K", int, 0, "nodes whose host memory holds the models at first"),
    ("--link-gbps R", number, None, f"rate of every link in Gbit/s; 0: no limit ({LINK_GBPS:g})"),
    ("--pcie-gbps R", number, None, f"of host memory to GPU; 0: no limit ({PCIE_GBPS:g})"),
    ("--ssd-gbps R", number, None, f"of every SSD; 0: no limit ({SSD_GBPS:g})"),
    ("--device-gbytes B", positive, None, "memory bandwidth of a device in GB/s; else measured"),
    ("--device-tflops F", positive, None, "matrix rate of a device in TFLOP/s; else measured"),
    ("--slots S", int, 8, "requests served at once per instance"),
    ("--max-length L", int, 512, "tokens per request, at most"),
    ("--blocks B", int, 16, "blocks that a model is cut into"),
    ("--restart-after S", number, None, "start a node that has ended again after S seconds"),
    ("--timeout S", positive, 3600.0, "give up after S seconds"),
)
SYSTEM: tuple[Row, ...] = (
    ("--policy NAME", str, "concurrency", f"how many instances: {', '.join(POLICIES)}"),
    ("--target X", number, 0.7, "share of the slots that should be busy"),
    ("--min N", int, 0, "instances of each model, at least"),
    ("--max N", int, None, "instances of each model, at most"),
    ("--poll S", number, 0.0, "decide every S seconds; 0: whenever something changes"),
    ("--idle S", number, 2.0, "release an instance after S idle seconds"),
    ("--keep-alive S", number, 15.0, "seconds that an unused copy stays on a GPU"),
    ("--host-keep-alive S", number, 15.0, "seconds that it stays in host memory"),
    ("--kv-switch HOW", str, "cost", f"KV at a mode switch: {', '.join(KV_SWITCHES)}"),
    ("--max-queue Q", int, None, "refuse new requests while Q wait"),
    ("--algorithm NAME", str, "kway", "multicast algorithm, as for plan"),
)
SWITCHES = (
    ("--barrier", "start each tick of a multicast together, as the paper's system does"),
    ("--load-then-serve", "let no node serve before it holds the whole model"),
    ("--no-floor", "let real devices go as fast as they can (no --simulate, KV is computed again)"),
    ("--local-only", "let every node load from its own tiers only, as ServerlessLLM does"),
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    rows = {"the workload": WORKLOAD, "the cluster": CLUSTER, "the system": SYSTEM}
    group = add_rows(parser, rows)
    for name, meaning in SWITCHES:
        group.add_argument(name, action="store_true", help=meaning)
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="serve model NEW for the trace's OLD; again for several (one --model: for all)",
    )


def add_rows(
    parser: argparse.ArgumentParser, rows: Mapping[str, Sequence[Row]]
) -> argparse._ArgumentGroup:
    """Add a group of options per title; return the last one."""
    for title, options in rows.items():
        group = parser.add_argument_group(title)
        for option, kind, default, meaning in options:
            name, metavar = option.split()
            shown = (
                ""
                if default is None
                else f" ({default:g})"
                if isinstance(default, float)
                else f" ({default})"
            )
            group.add_argument(
                name, metavar=metavar, type=kind, default=default, help=meaning + shown
            )
    return group


def trace_spec(
    options: argparse.Namespace,
    models: tuple[str, ...],
    rows: Sequence[TraceRow],
    device: DeviceModel | None,
) -> TraceSpec:
    """Return what the options describe, for a trace of `rows`, on nodes with `device`.

    Raises ConfigError.
    """
    own = options.cluster is not None
    return TraceSpec(
        models=models,
        dtype=options.dtype,
        system=_system(options),
        policy=_policy(options),
        replay=_replay(options, models),
        trace=Path(options.trace).name,
        trace_digest=digest_of(rows),
        num_nodes=options.nodes,
        num_blocks=options.blocks,
        max_slots=options.slots,
        max_length=options.max_length,
        gpu_gb=options.gpu_gb,
        host_gb=options.host_gb,
        ssd_gb=options.ssd_gb,
        initial_gpu=options.initial_gpu,
        initial_host=options.initial_host,
        link_gbps=_rate(options.link_gbps, LINK_GBPS, own),
        pcie_gbps=_rate(options.pcie_gbps, PCIE_GBPS, own),
        ssd_gbps=_rate(options.ssd_gbps, SSD_GBPS, own),
        device=device,
        timeout_s=options.timeout,
        restart_s=options.restart_after,
        clock="virtual" if options.simulate else "real",
    )


def _rate(given: float | None, otherwise: float, own: bool) -> float:
    """A rate in Gbit/s; where nodes have their `own`, nothing but what is given is imposed (0)."""
    return given if given is not None else 0.0 if own else otherwise


def given_device(options: argparse.Namespace) -> DeviceModel | None:
    """Return the device of the options, if both of its rates are given."""
    gbytes, tflops = options.device_gbytes, options.device_tflops
    if (gbytes is None) != (tflops is None):
        raise ConfigError("give both --device-gbytes and --device-tflops, or neither")
    return None if gbytes is None else DeviceModel(gbytes * 1e9, tflops * 1e12)


def _system(options: argparse.Namespace) -> SystemSpec:
    return SystemSpec(
        algorithm=options.algorithm,
        execute_while_load=not options.load_then_serve,
        barrier=options.barrier,
        sources=() if options.local_only else SystemSpec().sources,
        gpu_keep_alive_s=options.keep_alive,
        host_keep_alive_s=options.host_keep_alive,
        kv_switch=options.kv_switch,
        max_queue=options.max_queue,
    )


def _policy(options: argparse.Namespace) -> ScalingPolicy:
    return ScalingPolicy(
        name=options.policy,
        poll_s=options.poll,
        min_instances=options.min,
        max_instances=options.max,
        target=options.target,
        idle_s=options.idle,
    )


def _replay(options: argparse.Namespace, models: tuple[str, ...]) -> Replay:
    pairs = tuple(_pair(text) for text in options.rename)
    return Replay(
        options.speedup,
        max(options.max_prompt, options.prompt_tokens or 0),
        max(options.max_output, options.output_tokens or 0),
        options.limit,
        model=models[0] if len(models) == 1 and not pairs else "",
        models=pairs,
        seed=options.seed,
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
    )


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not new:
        raise ConfigError(f"--rename is {text!r}; write OLD=NEW")
    return old, new
