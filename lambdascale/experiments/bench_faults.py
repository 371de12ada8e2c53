"""What a fault costs a scale-out of running agents, on links that the kernel shapes.

SmolLM2 (538 MB) is loaded by agents that Ray placed in namespaces of their own, under the controller, while
one is killed (SIGKILL) or has a link at a quarter of the rate. A ratio is to the undisturbed scale-out of the
same pass; *copies* are seconds ÷ (bytes ÷ link rate). Emulated; needs root and the cluster extra.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import msgspec
import pandas as pd

from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.faulty_scale_outs import NOTHING, SHAPES, SLOW_SHAPE, Seen
from lambdascale.experiments.manifest import write_manifest
from lambdascale.experiments.spec import RunSpec
from lambdascale.model.catalogue import load_packed
from lambdascale.multicast.schedule import check_request
from lambdascale.provision.emulated import emulated
from lambdascale.provision.namespaces import CONGESTION, Namespaces
from lambdascale.units import gbps

RUNS = "lambdascale.experiments.faulty_scale_outs"
LINK_GBPS, SLOW = 0.5, 0.25  # of a link; of that of the slow one
BLOCKS = (16, 64)
PASSES = 3
KEYS = ["sources", "nodes", "blocks"]


def seen(passes: int, blocks: tuple[int, ...]) -> pd.DataFrame:
    """Run all scale-outs on a cluster of their own: a row each, `Seen` and its pass. Raises ConfigError."""
    rows = []
    with emulated(max(nodes for _, nodes in SHAPES), LINK_GBPS) as (hosts, cluster):
        for turn in range(passes):
            for one in _pass(hosts, cluster, blocks, turn):
                rows.append({"pass": turn, **asdict(one)})
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def _pass(hosts: Namespaces, cluster: Path, blocks: tuple[int, ...], turn: int) -> Iterator[Seen]:
    command = [sys.executable, "-m", RUNS, str(cluster), "--turn", str(turn)]
    command += ["--blocks", *map(str, blocks)]
    yield from _run(hosts, command)
    slow = SLOW_SHAPE[1] - 1
    hosts.shape(slow, gbps(LINK_GBPS * SLOW))
    yield from _run(hosts, [*command, "--slow"])
    hosts.shape(slow, gbps(LINK_GBPS))


def _run(hosts: Namespaces, command: list[str]) -> Iterator[Seen]:
    with subprocess.Popen(hosts.hosts[0].command(*command), stdout=subprocess.PIPE) as child:
        assert child.stdout
        yield from (msgspec.json.decode(line, type=Seen) for line in child.stdout)
    if child.returncode:
        raise ConfigError(f"{RUNS} failed (status {child.returncode}); see above")


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `sources nodes blocks fault runs copies median worst again`: ratios, to undisturbed."""
    healthy = rows[rows["fault"] == NOTHING].set_index(["pass", *KEYS])["seconds"]
    mine = rows.join(healthy.rename("healthy_s"), on=["pass", *KEYS])
    copies, over_healthy = mine["seconds"] / one_copy_s(), mine["seconds"] / mine["healthy_s"]
    each = mine.assign(copies=copies, ratio=over_healthy).groupby([*KEYS, "fault"])
    columns = {
        "runs": each.size(), "copies": each["copies"].median(), "median": each["ratio"].median(),
        "worst": each["ratio"].max(), "again": each["again"].max(),
    }  # fmt: skip
    return pd.DataFrame(columns).reset_index()


def one_copy_s() -> float:
    """Seconds that a link takes for the bytes of the model."""
    spec = RunSpec()
    return load_packed(spec.model, spec.dtype).layout.nbytes / gbps(LINK_GBPS)


def save(folder: Path, rows: pd.DataFrame) -> None:
    """Write every scale-out, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "rounds.csv", index=False)
    stated = {
        "provenance": "emulated", "model": RunSpec().model, "link_gbps": LINK_GBPS, "slow": SLOW,
        "congestion_control": CONGESTION,
    }  # fmt: skip
    write_manifest(folder, stated)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; with a folder, keep every scale-out there. Return an exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passes", type=int, default=PASSES, help=f"default {PASSES}")
    parser.add_argument("--blocks", type=int, nargs="+", default=BLOCKS, help=f"default {BLOCKS}")
    parser.add_argument("--out", type=Path, help="a folder for rounds.csv and manifest.json")
    arguments = parser.parse_args(argv)
    if arguments.passes < 1:
        parser.error("--passes must be at least 1")
    try:
        for (sources, nodes), num_blocks in product(SHAPES, arguments.blocks):
            check_request(nodes, sources, num_blocks)
        rows = seen(arguments.passes, tuple(arguments.blocks))
    except LambdaScaleError as error:
        print(f"bench_faults: {error}", file=sys.stderr)
        return 2
    print(ratios(rows).to_string(index=False, float_format="{:.3f}".format))
    if arguments.out:
        save(arguments.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
