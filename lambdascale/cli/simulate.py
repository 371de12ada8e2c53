"""`lambdascale simulate`: the same controller and agents in virtual time, with symbolic tokens."""

import argparse
import json

from lambdascale.cli.options import add_run, positive, sampling, scale_spec, system_spec
from lambdascale.engine.device import DeviceModel
from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.model.nominal import NOMINAL


def add_options(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(NOMINAL)
    parser.add_argument(
        "--model",
        default="llama-2-13b",
        help=f"{known}, or one that `scale` takes (default llama-2-13b)",
    )
    known = " or ".join(DTYPE_BYTES)
    parser.add_argument("--dtype", default="float16", help=f"{known} (default float16)")
    parser.add_argument(
        "--requests", type=int, default=24, help="requests, all at time 0 (default 24)"
    )
    parser.add_argument(
        "--prompt-tokens", type=int, default=32, help="tokens of each prompt (default 32)"
    )
    parser.add_argument(
        "--link-gbps", type=positive, default=400.0, help="link rate in Gbit/s (default 400)"
    )
    parser.add_argument(
        "--device-gbytes",
        type=positive,
        default=3350.0,
        help="memory bandwidth of a device in GB/s (default 3350, an H800)",
    )
    parser.add_argument(
        "--device-tflops",
        type=positive,
        default=400.0,
        help="matrix rate of a device in TFLOP/s (default 400)",
    )
    add_run(parser)


def run(options: argparse.Namespace) -> None:
    if options.requests < 0 or options.prompt_tokens < 1:
        raise ConfigError("--requests must be at least 0 and --prompt-tokens at least 1")
    spec = _spec(options)
    from lambdascale.cli.report import run_json, run_table
    from lambdascale.experiments.run import run as run_spec
    from lambdascale.experiments.simulated import symbolic_inputs

    inputs = symbolic_inputs(spec, options.requests, options.prompt_tokens)
    result = run_spec(spec, inputs=inputs)
    if options.json:
        print(json.dumps(run_json(result, inputs.requests, [None] * len(inputs.requests))))
    else:
        print(run_table(result))


def _spec(options: argparse.Namespace) -> RunSpec:
    return RunSpec(
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
