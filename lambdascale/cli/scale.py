"""`lambdascale scale`: grow a real model from k to N local nodes while they answer prompts."""

import argparse
import json
import sys
from pathlib import Path

from lambdascale.cli.live import watching
from lambdascale.cli.options import add_run, read_prompts, sampling, scale_spec, system_spec
from lambdascale.cli.report import answers, run_json, run_table
from lambdascale.engine.device import DeviceModel
from lambdascale.experiments.floor import emulated_device
from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.run import run as run_spec
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="smollm2-135m", help="catalogue name or folder")
    parser.add_argument("--prompts", type=Path, required=True, help="a file, one prompt a line")
    parser.add_argument(
        "--link-gbps", type=float, default=0.0, help="link rate (default: no limit)"
    )
    parser.add_argument("--transport", default="shm", help="shm (default) or tcp")
    parser.add_argument(
        "--emulate-devices",
        action="store_true",
        help="give every node the pace of a slower device, so that few cores share out fairly",
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    spec = RunSpec(
        model=options.model,
        dtype=options.dtype,
        system=system_spec(options),
        scale=scale_spec(options),
        prompts=read_prompts(options.prompts),
        max_tokens=options.max_tokens,
        sampling=sampling(options),
        transport=options.transport,
        link_gbps=options.link_gbps,
        device=_device(options),
    )
    inputs = load_inputs(spec)
    tokenizer = Tokenizer(load_packed(spec.model, spec.dtype))
    with watching(spec, tokenizer, show=not options.json and sys.stdout.isatty()) as watch:
        result = run_spec(spec, watch, inputs)
    if options.json:
        print(json.dumps(run_json(result, inputs.requests, spec.prompts)))
        return
    print(answers(result, spec.prompts, tokenizer))
    print(run_table(result))


def _device(options: argparse.Namespace) -> DeviceModel | None:
    if not options.emulate_devices:
        return None
    packed = load_packed(options.model, options.dtype)
    return emulated_device(packed, options.nodes, options.slots)
