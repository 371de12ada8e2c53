"""`lambdascale preflight`: what each node of a cluster has, lacks, and needs done before a run."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from lambdascale.errors import ConfigError
from lambdascale.experiments.clusters import Cluster
from lambdascale.model.catalogue import CATALOGUE
from lambdascale.provision.checks import Check


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", metavar="FILE", type=Path, help="its file (default: this machine alone)"
    )
    known = ", ".join(CATALOGUE)
    parser.add_argument("--model", default="smollm2-135m", help=f"{known} (default), or a folder")
    parser.add_argument("--dtype", default="float32", help="of the model (default float32)")


def run(options: argparse.Namespace) -> None:
    from lambdascale.model.catalogue import load_packed
    from lambdascale.provision.preflight import preflight

    cluster = Cluster.read(options.cluster) if options.cluster else None
    image = str(load_packed(options.model, options.dtype).image)
    rows = preflight(cluster.file if cluster else None, image)
    failing = advice(rows)
    print(json.dumps(as_json(rows)) if options.json else "\n".join([table(rows), *failing]))
    if failing:
        raise ConfigError(f"{len(failing)} checks failed; do what their lines say, then try again")


def table(rows: Sequence[Sequence[Check]]) -> str:
    """Return one line per node under a heading; what fails has a cross."""
    shown = [[check.name for check in rows[0]]]
    shown += [[check.shown + " ✗" * bool(check.advice) for check in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = (zip(line, widths, strict=True) for line in shown)
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in line).rstrip() for line in lines)


def advice(rows: Sequence[Sequence[Check]]) -> list[str]:
    """Return one line per failing check: the node, the check, and what to do."""
    return [
        f"node {row[0].shown}: {check.name} {check.shown}: {check.advice}"
        for row in rows
        for check in row
        if check.advice
    ]


def as_json(rows: Sequence[Sequence[Check]]) -> dict[str, object]:
    """Return what each node shows, by check, and the advice."""
    nodes = [{check.name: check.shown for check in row} for row in rows]
    return {"nodes": nodes, "advice": advice(rows)}
