"""`lambdascale plan`: show who sends which block to whom, and the bounds, without running anything."""

import argparse
import json

from lambdascale.cli.options import add_shape
from lambdascale.experiments.plan_report import plan_report, plan_table
from lambdascale.multicast.plan import plan


def add_options(parser: argparse.ArgumentParser) -> None:
    add_shape(parser)


def run(options: argparse.Namespace) -> None:
    schedule = plan(
        options.algorithm, options.nodes, options.sources, options.blocks, options.order
    )
    report = plan_report(schedule)
    print(json.dumps(report) if options.json else plan_table(report))
