"""`python -m lambdascale.provision.emulated -- COMMAND …`: a command on a Ray cluster made for it.

Brings up shaped hosts with a Ray node each on this machine, writes their cluster file, runs the command on
host 0 with every `{cluster}` in it replaced by the file's path, and removes everything. Needs root.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.fleet.placement import Placement
from lambdascale.provision.cluster_file import ClusterFile, write_cluster
from lambdascale.provision.namespaces import Namespaces, missing
from lambdascale.provision.ray_nodes import RayNodes
from lambdascale.units import gbps

CLUSTER = "{cluster}"
CANNOT, INTERRUPTED = 2, 130  # exit statuses


@contextmanager
def emulated(
    num_hosts: int, link_gbps: float, per_node: int = 1
) -> Iterator[tuple[Namespaces, Path]]:
    """Yield the hosts and the cluster file of `num_hosts` Ray nodes with links of `link_gbps`."""
    if find_spec("ray") is None:
        raise ConfigError("Ray is not installed; pip install 'lambdascale[cluster]'")
    if reason := missing():
        raise ConfigError(reason)
    with (
        tempfile.TemporaryDirectory(prefix="lambdascale-cluster-") as folder,
        Namespaces(num_hosts, gbps(link_gbps)) as hosts,
        RayNodes(hosts, per_node) as ray,
    ):
        path = Path(folder, "emulated.yaml")
        agents = Placement(ray.address, num_hosts, per_node, network=hosts.network)
        write_cluster(path, ClusterFile(agents, imposed_gbps=link_gbps))
        yield hosts, path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the command's exit status, or 2 if there can be no such cluster."""
    parser = argparse.ArgumentParser(description="run a command on a Ray cluster made for it")
    parser.add_argument("--nodes", type=int, default=4, help="hosts, a Ray node each (default 4)")
    parser.add_argument("--per-node", type=int, default=1, help="agents on each (default 1)")
    parser.add_argument("--gbps", type=float, default=1.0, help="rate of each link (default 1)")
    parser.add_argument("argv", nargs="+", metavar="COMMAND", help=f"{CLUSTER}: the cluster file")
    options = parser.parse_args(arguments)
    try:
        with emulated(options.nodes, options.gbps, options.per_node) as (hosts, path):
            argv = [word.replace(CLUSTER, str(path)) for word in options.argv]
            return subprocess.run(hosts.hosts[0].command(*argv), check=False).returncode
    except LambdaScaleError as error:
        print(f"emulated cluster: {error}", file=sys.stderr)
        return CANNOT
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
