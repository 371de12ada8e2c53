"""The paper's components (its Figure 4, paper.md b.1) and the modules that are each of them here.

Which modules exist and who imports whom is read from the source (`components`); only which of the paper's
names a module belongs to is written down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lambdascale.errors import ConfigError
from lambdascale.experiments.components import LEAVES, floor_of, imports, trees

USE, MANAGER, WORKER, LEAF, PLANS = "use", "cluster manager", "worker node", "leaf", "plans"


@dataclass(frozen=True, slots=True)
class Part:
    """A box of the figure: modules, or whole packages, under the paper's name or ours.

    `place` is one of USE … PLANS; `paper`: is the name the paper's?
    """

    name: str
    place: str
    modules: tuple[str, ...]
    paper: bool = False

    def holds(self, module: str) -> bool:
        """Tell whether a module is one of this part's, or lies in one of its packages."""
        return any(module == own or module.startswith(f"{own}.") for own in self.modules)


def _of(package: str, names: str) -> tuple[str, ...]:
    return tuple(package + name for name in names.split())


PARTS = (
    Part(
        "experiments, figures, notebooks, command line",
        USE,
        _of("", "experiments figures cli widgets"),
    ),
    Part("dispatch of prompts", MANAGER, _of("cluster.", "controller service router")),
    Part(
        "global resources",
        MANAGER,
        _of("cluster.", "members bring_up stock assignments disks slices"),
    ),
    Part("autoscaler", MANAGER, _of("cluster.", "balance autoscaler forecast shares gathering")),
    Part(
        "model scaling controller",
        MANAGER,
        _of("cluster.", "expansion growth growth_plan placement"),
        paper=True,
    ),
    Part(
        "pipeline execution controller",
        MANAGER,
        _of("cluster.", "pipelines switching paces lock_step"),
        paper=True,
    ),
    Part("node controller", WORKER, _of("cluster.", "agent reporter workplace"), paper=True),
    Part("model manager", WORKER, _of("cluster.", "holdings seat"), paper=True),
    Part("transfer module", WORKER, _of("cluster.", "copies links barrier kv_moves"), paper=True),
    Part("inference module", WORKER, _of("cluster.", "head relay batch activation"), paper=True),
    *(Part(leaf, LEAF, (leaf,)) for leaf in LEAVES),
    *(Part(name, PLANS, (name,)) for name in ("multicast", "pipeline", "model", "workload")),
)


def parts() -> pd.DataFrame:
    """Return one row per box: `part`, `place`, `paper`, its floors, its number of modules, their names.

    Raises ConfigError if a module that is written down here is gone.
    """
    rows = [
        (part.name, part.place, part.paper, _floors(own), len(own), " ".join(_short(own)))
        for part in PARTS
        for own in [_found(part)]
    ]
    columns = ["part", "place", "paper", "floors", "num_modules", "modules"]
    return pd.DataFrame(rows, columns=columns)


def uses() -> pd.DataFrame:
    """Return one row per pair of boxes of which the first imports the second: `user`, `used`, `imports`."""
    boxes = {name: part.name for name in trees() for part in PARTS if part.holds(name)}
    frame = imports().replace(boxes)
    frame = frame[frame["importer"].isin(boxes.values()) & frame["imported"].isin(boxes.values())]
    frame = frame[frame["importer"] != frame["imported"]]
    counts = frame.value_counts(sort=False).reset_index()
    return counts.set_axis(["user", "used", "imports"], axis=1)


def _found(part: Part) -> Sequence[str]:
    for module in part.modules:
        if module not in trees():
            raise ConfigError(f"{part.name} names the module {module}, which is gone; name another")
    return [name for name in trees() if part.holds(name)]


def _floors(modules: Sequence[str]) -> str:
    return ", ".join(str(floor) for floor in sorted({floor_of(name) for name in modules}))


def _short(modules: Sequence[str]) -> list[str]:
    return [name.rpartition(".")[2] for name in modules]
