"""`lambdascale run`: replay a trace on a cluster of real processes, or of simulated ones."""

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lambdascale.cli import run_options
from lambdascale.cli.cluster_options import add_cluster
from lambdascale.cli.loading import loading
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.clusters import Cluster, placed
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.placement import Placement
from lambdascale.model.catalogue import CATALOGUE
from lambdascale.model.nominal import NOMINAL, is_nominal
from lambdascale.workload.named import load_trace
from lambdascale.workload.rate import scaled
from lambdascale.workload.recipes import RECIPES
from lambdascale.workload.trace import HEADER, TraceRow

if TYPE_CHECKING:
    from lambdascale.experiments.results import RunResult

DEFAULT_MODEL = "smollm2-135m"
UNKNOWN = DeviceModel(bandwidth=1e9, flops=1e12)  # stands in until the device has been measured


def add_options(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(CATALOGUE)
    parser.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help=f"{known} (default), or a folder of Hugging Face safetensors; again for several models",
    )
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16 (float32)")
    parser.add_argument(
        "--trace",
        metavar="NAME",
        required=True,
        help=f"a generated trace ({', '.join(RECIPES)}), a real one (see `fetch`), or a CSV file: "
        f"{','.join(HEADER)}",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help=f"run the same in virtual time, also for {', '.join(NOMINAL)}",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="keep all tables in FOLDER")
    parser.add_argument(
        "--chrome-trace",
        metavar="FILE",
        type=Path,
        help="write what happened when, for ui.perfetto.dev",
    )
    add_cluster(parser)
    run_options.add(parser)


def run(options: argparse.Namespace) -> None:
    models = tuple(options.model or (DEFAULT_MODEL,))
    rows, device = _rows(options), run_options.given_device(options)
    cluster = Cluster.read(options.cluster) if options.cluster else None
    spec, placement = placed(
        run_options.trace_spec(options, models, rows, device or UNKNOWN),
        cluster, options.transport, options.link_gbps,
    )  # fmt: skip # what is wrong is said first
    if options.no_floor and (options.simulate or device is not None):
        raise ConfigError("--no-floor is for real runs without --device-gbytes; leave one out")
    if options.simulate and cluster:
        raise ConfigError("a cluster is for real runs; leave out --simulate or --cluster")
    if options.no_floor or (cluster and device is None):
        spec = replace(spec, device=None)
    elif device is None:
        spec = replace(spec, device=_measured_device(spec, options.json))
    result = _watched(spec, rows, placement, options.json)
    _keep(result, options)
    print(json.dumps(_as_json(result)) if options.json else _as_text(result))


def _rows(options: argparse.Namespace) -> Sequence[TraceRow]:
    return scaled(load_trace(options.trace, options.seed), options.scale, options.seed)


def _measured_device(spec: TraceSpec, silent: bool) -> DeviceModel:
    """A device that this machine can emulate for every node: of its largest model, measured now."""
    from lambdascale.experiments.floor import emulated_device
    from lambdascale.model.catalogue import load_packed

    without = [model for model in spec.models if is_nominal(model)]
    if without:
        raise ConfigError(
            f"{without[0]} has no weights to measure; give --device-gbytes and --device-tflops"
        )
    with loading(", ".join(spec.models), silent):
        packed = [load_packed(model, spec.dtype) for model in spec.models]
        largest = max(packed, key=lambda p: p.layout.nbytes)
        return emulated_device(largest, spec.num_nodes, spec.max_slots)


def _watched(
    spec: TraceSpec, rows: Sequence[TraceRow], placement: Placement | None, silent: bool
) -> "RunResult":
    from lambdascale.cli.progress import progress
    from lambdascale.experiments.trace_run import run_trace

    num_requests = len(rows) if spec.replay.limit is None else min(len(rows), spec.replay.limit)
    there = agent_site(placement) if placement else nullcontext()
    with there as site, progress(num_requests, silent) as watch:
        return run_trace(spec, rows, watch, site)


def _keep(result: "RunResult", options: argparse.Namespace) -> None:
    if options.out is not None:
        result.save(options.out)
    if options.chrome_trace is not None:
        from lambdascale.experiments.chrome_trace import save_chrome_trace

        save_chrome_trace(result, options.chrome_trace)


def _as_text(result: "RunResult") -> str:
    from lambdascale.cli.losses import losses_text
    from lambdascale.experiments.decisions import decisions, decisions_text
    from lambdascale.experiments.summary import summarise, summary_text

    parts = (
        result.notes[0],
        decisions_text(decisions(result)),
        losses_text(result),
        summary_text(summarise(result)) + "\n" + _provenance(result),
    )
    return "\n\n".join(filter(None, parts))


def _provenance(result: "RunResult") -> str:
    (spec,) = result.specs
    if spec.device is None:
        return f"these figures are {result.provenance}"
    gbytes, tflops = spec.device.bandwidth / 1e9, spec.device.flops / 1e12
    text = (
        f"these figures are {result.provenance}: devices of {gbytes:.4g} GB/s, {tflops:.4g} TFLOP/s"
    )
    if spec.clock == "virtual":
        return text
    late, steps = result.nodes["overruns"].sum(), result.nodes["steps"].sum()
    return f"{text}; {late} of {steps} steps overran them"


def _as_json(result: "RunResult") -> dict[str, object]:
    from lambdascale.cli.losses import losses_json
    from lambdascale.experiments.decisions import decisions
    from lambdascale.experiments.summary import summarise

    outputs = result.outputs()
    return {
        "provenance": result.provenance,
        "note": result.notes[0],
        "summary": summarise(result).to_dict("records"),
        "decisions": decisions(result).to_dict("records"),
        "losses": losses_json(result),
        "outputs": {str(request): list(tokens) for request, tokens in outputs.items()},
    }
