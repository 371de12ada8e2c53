"""`lambdascale plan`: a multicast plan and its bounds."""

import argparse
import json

from lambdascale.cli.options import add_shape, check_size
from lambdascale.errors import ConfigError
from lambdascale.experiments.plan_compare import compare, compare_table
from lambdascale.experiments.plan_report import plan_report, plan_table
from lambdascale.experiments.plan_seconds import Pricing, seconds_table, timed_report
from lambdascale.model.nominal import NOMINAL, nominal_shape
from lambdascale.multicast.costs import WINDOW, LinkCost
from lambdascale.multicast.plan import plan
from lambdascale.units import from_megabytes, from_microseconds, gbps

AUTO = "auto"
NUM_BLOCKS = 16
DTYPE = "float16"  # of the models that have a size but no weights


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shape(parser)
    parser.set_defaults(blocks=None)  # so that `auto` can tell whether the count is given
    group = parser.add_argument_group(
        "seconds",
        f"with a rate and a size; --algorithm {AUTO} then chooses, --blocks too unless given",
    )
    group.add_argument("--link-gbps", type=float, help="link rate in Gbit/s")
    group.add_argument("--occupancy-us", type=float, help="a write keeps a port busy (default 0)")
    group.add_argument("--latency-us", type=float, help="a write travels (default 0)")
    group.add_argument("--model", help=f"its size in {DTYPE}: {', '.join(NOMINAL)}")
    group.add_argument("--image-mb", type=float, help="size in MB (10^6 bytes), instead of --model")
    group.add_argument("--window", type=int, help=f"writes in flight per node (default {WINDOW})")
    group.add_argument(
        "--barrier", action="store_true", help="wait for every tick, as the paper does"
    )
    parser.add_argument("--compare", action="store_true", help="all algorithms side by side")


def run(options: argparse.Namespace) -> None:
    check_size(options)
    pricing = _pricing(options)
    if options.compare:
        _compare(options, pricing)
    elif pricing is None:
        _plan(options)
    else:
        _timed_plan(options, pricing)


def _compare(options: argparse.Namespace, pricing: Pricing | None) -> None:
    num_blocks = NUM_BLOCKS if options.blocks is None else options.blocks
    found = compare(options.nodes, options.sources, num_blocks, options.order, pricing)
    print(json.dumps(found) if options.json else compare_table(found))


def _plan(options: argparse.Namespace) -> None:
    if options.algorithm == AUTO:
        raise ConfigError(
            f"algorithm {AUTO} chooses by predicted seconds; give --link-gbps and --model or --image-mb"
        )
    num_blocks = NUM_BLOCKS if options.blocks is None else options.blocks
    report = plan_report(
        plan(options.algorithm, options.nodes, options.sources, num_blocks, options.order)
    )
    print(json.dumps(report) if options.json else plan_table(report))


def _timed_plan(options: argparse.Namespace, pricing: Pricing) -> None:
    algorithm, num_blocks, reason = options.algorithm, options.blocks, None
    if algorithm == AUTO:
        choice = pricing.choose(options.nodes, options.sources, num_blocks)
        algorithm, num_blocks, reason = (
            choice.schedule.algorithm,
            choice.num_blocks,
            choice.explanation,
        )
    num_blocks = NUM_BLOCKS if num_blocks is None else num_blocks
    schedule = plan(algorithm, options.nodes, options.sources, num_blocks, options.order)
    report = timed_report(schedule, pricing, reason)
    print(
        json.dumps(report) if options.json else f"{plan_table(report)}\n\n{seconds_table(report)}"
    )


def _pricing(options: argparse.Namespace) -> Pricing | None:
    """Return what the options say about size and links; None if nothing, ConfigError if half of it."""
    costs = (options.link_gbps, options.occupancy_us, options.latency_us)
    values = (*costs, options.model, options.image_mb, options.window, options.barrier or None)
    if all(value is None for value in values):
        return None
    if options.link_gbps is None or (options.model is None) == (options.image_mb is None):
        raise ConfigError("seconds need --link-gbps and one of --model and --image-mb")
    link = LinkCost(
        from_microseconds(options.occupancy_us or 0.0),
        from_microseconds(options.latency_us or 0.0),
        gbps(options.link_gbps),
    )
    window = WINDOW if options.window is None else options.window
    return Pricing(_image_nbytes(options), link, options.barrier, window)


def _image_nbytes(options: argparse.Namespace) -> float:
    if options.model is None:
        return from_megabytes(options.image_mb)
    return nominal_shape(options.model).layout(options.model, DTYPE).nbytes
