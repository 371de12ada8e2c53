"""Where agents are and how they exchange blocks: options of every command that starts real ones."""

import argparse
from pathlib import Path

from lambdascale.transport.registry import TRANSPORTS


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a cluster, and the one of how blocks are exchanged."""
    parser.add_argument(
        "--cluster",
        metavar="FILE",
        type=Path,
        help="run on the agents of this cluster file (see artifact/clusters)",
    )
    parser.add_argument(
        "--transport", help=f"{' or '.join(TRANSPORTS)} (default shm, or the cluster's)"
    )
