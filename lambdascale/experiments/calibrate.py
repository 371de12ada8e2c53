"""What this machine costs, measured and fitted: a hardware file that other notebooks accept.

    python -m lambdascale.experiments.calibrate --out hardware.json

    write      between two processes: α (occupancy, latency) and β (rate), see `op_cost`
    copy       between two regions of memory, by size
    SSD read   of the image by size, its pages dropped from the page cache before
    decode     one token through more and more layers: launch cost and memory bandwidth
    prefill    more and more tokens through all layers: FLOP/s

Each is measured in rounds in which sizes take turns, and the median counts: a busy machine slows all of them.
"""

import argparse
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from lambdascale.experiments import calibrate_fit as fits
from lambdascale.experiments.calibrate_engine import LENGTHS, decode_and_prefill, stops_of
from lambdascale.experiments.calibrate_moves import SIZES, control_seconds, copies_and_loads
from lambdascale.experiments.machine import machine
from lambdascale.experiments.op_cost import OpCost
from lambdascale.experiments.op_cost import measure as measure_writes
from lambdascale.model.catalogue import load_packed
from lambdascale.model.layout import DTYPE_BYTES
from lambdascale.model.packed import PackedModel
from lambdascale.sim.conditions import Conditions
from lambdascale.sim.hardware import Hardware
from lambdascale.units import gigabits, gigabytes

ROUNDS = 5
WRITES = "write"  # with 16 in flight: the port is never idle


@dataclass(frozen=True, slots=True)
class Calibration:
    """`table` has one row per measured size (see `calibrate_fit`), `lines` one line per series."""

    table: pd.DataFrame
    lines: Mapping[str, fits.Line]
    link: OpCost
    control_s: float
    model: str

    def hardware(self, num_nodes: int) -> Hardware:
        """Return this machine as `num_nodes` nodes that share its memory; each has a core's device."""
        memory = gigabytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        share = memory / (2 * num_nodes)
        cost, lines = self.link.link, self.lines
        return Hardware(
            name=f"this machine: {machine()['processor']}",
            num_nodes=num_nodes,
            gpus_per_node=1,
            gpu_gb=share,
            host_gb=share,
            ssd_gb=gigabytes(shutil.disk_usage(Path.home()).total),
            link_gbps=gigabits(cost.rate),
            pcie_gbps=gigabits(lines["copy"].rate),
            ssd_gbps=gigabits(lines["SSD read"].rate),
            device={self.model: fits.device(lines["decode"], lines["prefill"])},
            conditions=Conditions(
                latency_s=cost.latency_s, occupancy_s=cost.occupancy_s, control_s=self.control_s
            ),
            sources=self._sources(),
        )

    def _sources(self) -> dict[str, str]:
        """Where each number comes from, and by how much the fit misses what was measured."""
        off = {
            name: f"measured; fit within {miss:.0%}"
            for name, miss in fits.residuals(self.table).items()
        }
        size = "a share of this machine's"
        return {
            **{"num_nodes": "chosen", "gpus_per_node": "a node is one emulated device"},
            **{
                "gpu_gb": f"{size} memory",
                "host_gb": f"{size} memory",
                "ssd_gb": "this machine's disk",
            },
            "link_gbps": f"{self.link.transport} between two processes, {off[WRITES]}",
            "pcie_gbps": f"between two regions of memory, {off['copy']}",
            "ssd_gbps": f"pages dropped before, {off['SSD read']}",
            "device": f"one thread; decode {off['decode']}; prefill {off['prefill']}",
            "conditions": f"writes {off[WRITES]}; half a round trip of control messages",
        }


def keep(hardware: Hardware, *paths: str) -> None:
    """Write a hardware file to each path that is not empty."""
    for path in filter(None, paths):
        hardware.save(path)


def overview(hardware: Hardware) -> pd.DataFrame:
    """Return each number of a hardware file beside where it comes from."""
    device = {f"device of {model}": device for model, device in hardware.device.items()}
    stated = asdict(hardware) | device
    rows = [
        (name, value, hardware.sources.get(name.partition(" ")[0], ""))
        for name, value in stated.items()
        if name not in ("name", "sources", "device", "conditions")
    ]
    rows.append(("conditions", hardware.conditions, hardware.sources.get("conditions", "")))
    return pd.DataFrame(rows, columns=["field", "value", "source"])


def calibrate(
    model: str = "smollm2-135m",
    dtype: str = "float32",
    transport: str = "shm",
    rounds: int = ROUNDS,
) -> Calibration:
    """Measure and fit everything; takes about 30 s, more on a busy machine."""
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has an event loop already
        return thread.submit(_calibrate, load_packed(model, dtype), transport, rounds).result()


def _calibrate(packed: PackedModel, transport: str, rounds: int) -> Calibration:
    writes = measure_writes(transport, rounds=rounds)
    series = {WRITES: ("bytes", *_of_writes(writes)), **_of_storage(packed, rounds)}
    series |= _of_engine(packed, rounds)
    lines = {name: fits.fit_line(x, seconds) for name, (_, x, seconds) in series.items()}
    lines[WRITES] = fits.Line(writes.link.occupancy_s, writes.link.rate)
    tables = [fits.fitted(n, unit, x, s, lines[n]) for n, (unit, x, s) in series.items()]
    table = pd.concat(tables, ignore_index=True)
    return Calibration(table, lines, writes, control_seconds(), packed.layout.model)


Series = tuple[str, list[float], list[float]]  # unit, sizes, seconds


def _of_writes(writes: OpCost) -> tuple[list[float], list[float]]:
    many = max(window for _, window in writes.seconds)
    port = {
        nbytes: s for (nbytes, window), s in writes.seconds.items() if window == many and nbytes
    }
    return [float(nbytes) for nbytes in port], list(port.values())


def _of_storage(packed: PackedModel, rounds: int) -> dict[str, Series]:
    sizes = [float(n) for n in SIZES]
    copies, loads = copies_and_loads(packed.image, rounds)
    return {"copy": ("bytes", sizes, copies), "SSD read": ("bytes", sizes, loads)}


def _of_engine(packed: PackedModel, rounds: int) -> dict[str, Series]:
    layout, width = packed.layout, DTYPE_BYTES[packed.layout.dtype]
    decodes, prefills = decode_and_prefill(packed, rounds)
    read = [float(fits.read_bytes(layout, stop)) for stop in stops_of(packed)]
    flops = [fits.matrix_flops(layout, n, width) for n in LENGTHS]
    return {"decode": ("bytes", read, decodes), "prefill": ("FLOP", flops, prefills)}


def main() -> None:
    """Measure, print what was found, and write the hardware file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="where the hardware file goes")
    parser.add_argument("--nodes", type=int, default=4, help="into how many nodes to divide it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    found = calibrate(rounds=arguments.rounds)
    hardware = found.hardware(arguments.nodes)
    print(found.table.to_string(index=False), hardware, sep="\n\n")
    if arguments.out:
        hardware.save(arguments.out)


if __name__ == "__main__":
    main()
