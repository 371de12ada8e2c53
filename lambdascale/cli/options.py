"""Options that several commands share, and the specification they describe."""

import argparse
import math
from pathlib import Path

from lambdascale.config import ScaleSpec, SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.multicast.order import ORDERS
from lambdascale.multicast.plan import ALGORITHMS
from lambdascale.workload.request import Sampling

MAX_TRANSFERS = 2_000_000  # of a plan; a larger one would take minutes and gigabytes


def number(text: str) -> float:
    """Parse a finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Who sends what to whom."""
    group = parser.add_argument_group("the scale-out")
    group.add_argument(
        "--nodes", metavar="N", type=int, default=4, help="nodes at the end, N (default 4)"
    )
    group.add_argument(
        "--sources",
        metavar="K",
        type=int,
        default=1,
        help="nodes that hold the model at first, k (default 1)",
    )
    group.add_argument(
        "--blocks",
        metavar="B",
        type=int,
        default=16,
        help="blocks that the model is cut into (default 16)",
    )
    known = ", ".join(ALGORITHMS)
    group.add_argument(
        "--algorithm",
        metavar="NAME",
        default="kway",
        help=f"multicast algorithm: {known} (default kway)",
    )
    known = ", ".join(ORDERS)
    group.add_argument(
        "--order",
        metavar="NAME",
        help=f"order of the blocks: {known} (default: the algorithm's own)",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """What `scale` and `simulate` have in common."""
    add_shape(parser)
    group = parser.add_argument_group("the system")
    group.add_argument(
        "--load-then-serve",
        action="store_true",
        help="let no node serve before it holds the whole model (default: execute while load)",
    )
    group.add_argument(
        "--barrier",
        action="store_true",
        help="start each tick of the multicast together, as the paper's system does",
    )
    group.add_argument(
        "--slots",
        metavar="S",
        type=int,
        default=8,
        help="sequences served at once per node (default 8)",
    )
    group.add_argument(
        "--max-length",
        metavar="L",
        type=int,
        default=512,
        help="tokens per sequence, at most (default 512)",
    )
    group.add_argument(
        "--timeout",
        metavar="S",
        type=positive,
        default=600.0,
        help="give up after so many seconds (600)",
    )
    _add_generation(parser)


def _add_generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the answers")
    group.add_argument(
        "--max-tokens",
        metavar="T",
        type=int,
        default=32,
        help="tokens per answer, at most (default 32)",
    )
    group.add_argument(
        "--temperature",
        metavar="X",
        type=number,
        default=0.0,
        help="0: always the likeliest token (default)",
    )
    group.add_argument(
        "--top-k",
        metavar="K",
        type=int,
        default=0,
        help="choose among the k likeliest tokens; 0: off (default)",
    )
    group.add_argument(
        "--top-p",
        metavar="P",
        type=number,
        default=1.0,
        help="choose within this probability (default 1: off)",
    )
    group.add_argument(
        "--seed", metavar="S", type=int, default=0, help="seed of the choice (default 0)"
    )


def check_size(options: argparse.Namespace) -> None:
    """Refuse a plan too large to make (blocks None: still to be chosen); raises ConfigError."""
    num_blocks = 1 if options.blocks is None else options.blocks
    transfers = (options.nodes - options.sources) * num_blocks
    if transfers > MAX_TRANSFERS:
        raise ConfigError(
            f"{num_blocks} blocks for {options.nodes - options.sources} nodes are {transfers} "
            f"transfers; lower --nodes or --blocks to at most {MAX_TRANSFERS}"
        )


def system_spec(options: argparse.Namespace) -> SystemSpec:
    """Return the system that the options describe."""
    return SystemSpec(
        algorithm=options.algorithm,
        order=options.order,
        execute_while_load=not options.load_then_serve,
        barrier=options.barrier,
    )


def scale_spec(options: argparse.Namespace) -> ScaleSpec:
    """Return the scale-out that the options describe; ConfigError if it is out of all proportion."""
    check_size(options)
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
    """Return the prompts in a file, one a line; empty lines do not count. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the prompts in {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8; write one prompt a line") from error
    prompts = tuple(line.strip() for line in text.split("\n") if line.strip())
    if not prompts:
        raise ConfigError(f"{path} has no prompts; write one a line")
    return prompts
