"""`lambdascale scale`: a real scale-out, on this machine or on a cluster.

What is cheap is checked first; then the nurseries of the agents begin to import, and meanwhile this
process imports what it needs itself.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lambdascale.cli.cluster_options import add_cluster
from lambdascale.cli.loading import loading
from lambdascale.cli.options import (
    add_run,
    positive,
    read_prompts,
    sampling,
    scale_spec,
    system_spec,
)
from lambdascale.experiments.agents import agent_site
from lambdascale.experiments.clusters import Cluster, placed
from lambdascale.experiments.spec import REAL_DTYPES, RunSpec
from lambdascale.fleet.base import Site
from lambdascale.fleet.placement import Placement
from lambdascale.model.catalogue import CATALOGUE
from lambdascale.model.packed import PackedModel

if TYPE_CHECKING:
    from lambdascale.experiments.inputs import Inputs
    from lambdascale.experiments.results import RunResult
    from lambdascale.model.text import Tokenizer


def add_options(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(CATALOGUE)
    parser.add_argument(
        "--model",
        default="smollm2-135m",
        help=f"{known} (default), or a folder of Hugging Face safetensors",
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, help="a text file, one prompt a line"
    )
    parser.add_argument(
        "--dtype", default="float32", help=f"{' or '.join(REAL_DTYPES)} (default float32)"
    )
    add_cluster(parser)
    parser.add_argument(
        "--link-gbps",
        type=positive,
        help="impose this rate on every node's link, in Gbit/s (default: as fast as it goes)",
    )
    parser.add_argument(
        "--emulate-devices",
        action="store_true",
        help="give every node the pace of a slower device, so that they share few cores fairly",
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    from lambdascale.experiments.inputs import check, load_model

    cluster = Cluster.read(options.cluster) if options.cluster else None
    spec, placement = _spec(options, cluster)
    check(spec)
    with loading(spec.model, silent=options.json):
        packed = load_model(spec)
    if options.emulate_devices:
        spec = _with_device(spec, packed)
    with agent_site(placement) as site:
        with loading("the tokenizer", silent=options.json):
            tokenizer, inputs = _inputs(spec, packed)
        result = _watched(spec, tokenizer, inputs, site, silent=options.json)
    _show(result, inputs, spec.prompts, options.json)


def _inputs(spec: RunSpec, packed: PackedModel) -> "tuple[Tokenizer, Inputs]":
    from lambdascale.experiments.inputs import load_inputs
    from lambdascale.model.text import Tokenizer

    tokenizer = Tokenizer(packed)
    return tokenizer, load_inputs(spec, packed, tokenizer)


def _watched(
    spec: RunSpec, tokenizer: "Tokenizer", inputs: "Inputs", site: Site, silent: bool
) -> "RunResult":
    from lambdascale.cli.live import watching
    from lambdascale.experiments.run import run as run_spec

    with watching(spec, tokenizer, silent) as watch:
        return run_spec(spec, watch, inputs, site)


def _show(result: "RunResult", inputs: "Inputs", prompts: Sequence[str], as_json: bool) -> None:
    from lambdascale.cli.report import run_json, run_table

    if as_json:
        print(json.dumps(run_json(result, inputs.requests, prompts)))
    else:
        print(run_table(result))


def _spec(options: argparse.Namespace, cluster: Cluster | None) -> tuple[RunSpec, Placement | None]:
    """What the options describe, and where its agents are."""
    spec = RunSpec(
        model=options.model,
        dtype=options.dtype,
        system=system_spec(options),
        scale=scale_spec(options),
        prompts=read_prompts(options.prompts),
        max_tokens=options.max_tokens,
        sampling=sampling(options),
    )
    return placed(spec, cluster, options.transport, options.link_gbps)


def _with_device(spec: RunSpec, packed: PackedModel) -> RunSpec:
    """Measure this machine while it does nothing else."""
    from lambdascale.experiments.floor import emulated_device

    device = emulated_device(packed, spec.scale.num_nodes, spec.scale.max_slots)
    return replace(spec, device=device)
