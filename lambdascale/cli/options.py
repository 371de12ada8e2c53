"""Options that several commands share, and the specification they describe."""

import argparse
from pathlib import Path

from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.multicast.order import ORDERS
from lambdascale.multicast.plan import ALGORITHMS
from lambdascale.workload.request import Sampling


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Who sends what to whom."""
    group = parser.add_argument_group("scale-out")
    group.add_argument("--nodes", type=int, default=4, help="nodes in the end (default 4)")
    group.add_argument(
        "--sources", type=int, default=1, help="nodes that hold the model (default 1)"
    )
    group.add_argument("--blocks", type=int, default=16, help="transfer blocks (default 16)")
    known = ", ".join(ALGORITHMS)
    group.add_argument("--algorithm", default="kway", help=f"one of {known} (default kway)")
    known = ", ".join(ORDERS)
    group.add_argument("--order", default=None, help=f"block order: {known} (default: algorithm's)")


def add_run(parser: argparse.ArgumentParser) -> None:
    """What `scale` and `simulate` have in common."""
    add_shape(parser)
    group = parser.add_argument_group("run")
    group.add_argument("--dtype", default="float32", help="float32 (default) or bfloat16")
    group.add_argument("--max-tokens", type=int, default=32, help="tokens per answer (default 32)")
    group.add_argument("--slots", type=int, default=8, help="sequences per node (default 8)")
    group.add_argument("--max-length", type=int, default=512, help="tokens per sequence (512)")
    group.add_argument("--temperature", type=float, default=0.0, help="0 (default) is greedy")
    group.add_argument("--top-k", type=int, default=0, help="0 (default) is off")
    group.add_argument("--top-p", type=float, default=1.0, help="1 (default) is off")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument(
        "--barrier", action="store_true", help="wait for every tick, as the paper does"
    )
    group.add_argument(
        "--load-then-serve", action="store_true", help="no execution pipelines while loading"
    )
    group.add_argument("--timeout", type=float, default=600.0, help="seconds for all (default 600)")


def system_spec(options: argparse.Namespace) -> SystemSpec:
    """Return the system that the options describe."""
    return SystemSpec(
        algorithm=options.algorithm,
        order=options.order,
        execute_while_load=not options.load_then_serve,
        barrier=options.barrier,
    )


def scale_spec(options: argparse.Namespace) -> ScaleSpec:
    """Return the scale-out that the options describe."""
    return ScaleSpec(
        num_sources=options.sources,
        num_nodes=options.nodes,
        num_blocks=options.blocks,
        max_slots=options.slots,
        max_length=options.max_length,
        timeout_s=options.timeout,
    )


def sampling(options: argparse.Namespace) -> Sampling:
    """Return the sampling that the options describe."""
    return Sampling(options.temperature, options.top_k, options.top_p, options.seed)


def read_prompts(path: Path) -> tuple[str, ...]:
    """Return the prompts in a file, one a line; empty lines do not count."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the prompts in {path}: {error}") from error
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise ConfigError(f"{path} has no prompts; write one a line")
    return prompts
