"""`make bench-peers`: gloo, NIXL, Mooncake, Ray and a star beside our multicast, on shaped links, in one run.

All move the same image from one host to the others, take turns, and are checked by a hash of what every host
holds. The unit is one copy: bytes ÷ link rate. Peers run at their defaults, in an environment of their own.
Results go to a folder: `rounds.csv`, and a manifest with the set-ups, the failures and the machine.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lambdascale.errors import ConfigError
from lambdascale.experiments import bench_shaped
from lambdascale.experiments.manifest import write_manifest
from lambdascale.experiments.peers.contest import Entry, Outcome, Setup, compete, table
from lambdascale.experiments.peers.sitting import Program
from lambdascale.provision.namespaces import CONGESTION, missing

PEERS = {
    "gloo": "torch",
    "nixl": "nixl",
    "mooncake": "mooncake-transfer-engine-non-cuda",
    "ray": "ray",
}
SLOW = Setup(3, bench_shaped.SETUPS[0].rate, bench_shaped.SETUPS[0].nbytes, slow=0.25)
SETUPS = (*bench_shaped.SETUPS, SLOW)
PASSES, ROUNDS = 3, 2
RESULTS = Path("results/runs/bench-peers")


def entries(setup: Setup, python: str) -> list[Entry]:
    """Return our entries and the peers, which `python` runs."""
    return [*bench_shaped.entries(setup), *(Entry(name, Program(name, python)) for name in PEERS)]


def rows(setup: Setup, outcomes: Sequence[Outcome]) -> Iterator[dict[str, object]]:
    """Yield one row per contestant, round and node."""
    for outcome in outcomes:
        for number, ends in enumerate(outcome.rounds):
            for node, seconds in enumerate(ends):
                yield {
                    "setup": setup.name,
                    "contestant": outcome.name,
                    "round": number,
                    "node": node,
                    "ended_s": round(seconds, 6),
                }


def save(
    folder: Path, found: Mapping[Setup, Sequence[Outcome]], versions: Mapping[str, str]
) -> None:
    """Write every round and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    every = [row for setup, outcomes in found.items() for row in rows(setup, outcomes)]
    pd.DataFrame(every).to_csv(folder / "rounds.csv", index=False)
    stated = {
        "provenance": "emulated",
        "setups": [asdict(setup) | {"name": setup.name} for setup in found],
        "congestion_control": CONGESTION,
        "peers": dict(versions),
        "failures": [
            {"setup": setup.name, "contestant": outcome.name, "why": outcome.failure}
            for setup, outcomes in found.items()
            for outcome in outcomes
            if outcome.failure
        ],
    }
    write_manifest(folder, stated)


def versions_of(python: str) -> dict[str, str]:
    """Return the version of each peer, or *missing*, in the environment of `python`."""
    code = (
        "import sys; from importlib import metadata as m\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(m.version(name))\n"
        "    except m.PackageNotFoundError: print('missing')"
    )
    argv = [python, "-c", code, *PEERS.values()]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    except OSError as error:
        raise ConfigError(f"{python}: {error.strerror}; run `make bench-peers`") from error
    return dict(zip(PEERS, said, strict=True))


def main() -> None:
    """Print a table per set-up as it is done, and save all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", default=sys.executable, help="that has the peers installed")
    parser.add_argument("--passes", type=int, default=PASSES, help=f"default {PASSES}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of a pass; default {ROUNDS}")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default {RESULTS}")
    arguments = parser.parse_args()
    if arguments.passes < 1 or arguments.rounds < 1:
        parser.error("--passes and --rounds must be at least 1")
    if reason := missing():
        parser.error(reason)
    versions = versions_of(arguments.python)
    print("emulated links; " + ", ".join(f"{name} {found}" for name, found in versions.items()))
    found: dict[Setup, Sequence[Outcome]] = {}
    for setup in SETUPS:
        found[setup] = compete(
            setup, entries(setup, arguments.python), arguments.passes, arguments.rounds
        )
        print(table(setup, found[setup]), flush=True)
        save(arguments.results, found, versions)


if __name__ == "__main__":
    main()
