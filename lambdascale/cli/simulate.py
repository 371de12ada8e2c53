"""`lambdascale simulate`: run the same controller and agents in virtual time, with symbolic tokens."""

import argparse
import json

from lambdascale.cli.options import add_run, sampling, scale_spec, system_spec
from lambdascale.cli.report import run_json, run_table
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.run import run as run_spec
from lambdascale.experiments.simulated import symbolic_inputs
from lambdascale.experiments.spec import RunSpec


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="llama-2-13b", help="a nominal or catalogue model")
    parser.add_argument("--requests", type=int, default=24, help="all at time 0 (default 24)")
    parser.add_argument("--prompt-tokens", type=int, default=32, help="tokens per prompt (32)")
    parser.add_argument("--link-gbps", type=float, default=400.0, help="link rate (default 400)")
    parser.add_argument(
        "--device-gbytes", type=float, default=3350.0, help="memory bandwidth in GB/s (H800: 3350)"
    )
    parser.add_argument(
        "--device-tflops", type=float, default=400.0, help="matrix rate in TFLOP/s (default 400)"
    )
    add_run(parser)
    parser.set_defaults(dtype="float16")


def run(options: argparse.Namespace) -> None:
    if options.requests < 0 or options.prompt_tokens < 1:
        raise ConfigError("requests must be at least 0 and prompt-tokens at least 1")
    spec = RunSpec(
        model=options.model,
        dtype=options.dtype,
        system=system_spec(options),
        scale=scale_spec(options),
        max_tokens=options.max_tokens,
        sampling=sampling(options),
        link_gbps=options.link_gbps,
        device=DeviceModel(options.device_gbytes * 1e9, options.device_tflops * 1e12),
        clock="virtual",
    )
    inputs = symbolic_inputs(spec, options.requests, options.prompt_tokens)
    result = run_spec(spec, inputs=inputs)
    if options.json:
        print(json.dumps(run_json(result, inputs.requests, [None] * len(inputs.requests))))
    else:
        print(run_table(result))
