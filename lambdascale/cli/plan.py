"""`lambdascale plan`: a multicast plan and its bounds."""

import argparse
import json

from lambdascale.cli.options import add_shape, check_size
from lambdascale.experiments.plan_report import plan_report, plan_table
from lambdascale.multicast.plan import plan


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shape(parser)


def run(options: argparse.Namespace) -> None:
    check_size(options)
    schedule = plan(
        options.algorithm, options.nodes, options.sources, options.blocks, options.order
    )
    report = plan_report(schedule)
    print(json.dumps(report) if options.json else plan_table(report))
