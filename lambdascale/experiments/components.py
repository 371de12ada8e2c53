"""What this package consists of, read from its own source: modules, who imports whom, bodies of the leaves.

Nothing is imported for it, so it is quick and complete; a figure drawn from it cannot be out of date.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

import lambdascale
from lambdascale.errors import ConfigError

ROOT = Path(lambdascale.__file__).parent
LEAVES = {
    "transport": "Transport",
    "engine": "Engine",
    "storage": "Storage",
    "control": "Control",
    "fleet": "Fleet",
}
SIMULATED = "sim"
FLOORS = (
    "units errors types config policy clock setup_times signals",
    "model multicast pipeline workload",
    "transport storage engine control fleet",
    "cluster",
    "serve provision sim",
    "experiments figures claims",
    "widgets cli explore __main__",
)
Methods = frozenset[tuple[str, int]]  # name and number of arguments


@cache
def trees() -> dict[str, ast.Module]:
    """Return every module by its name within the package, parsed: `cluster.agent`, `cluster`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports() -> pd.DataFrame:
    """Return one row per module that imports another: `importer`, `imported`, by name."""
    rows = [
        (importer, imported)
        for importer, tree in trees().items()
        for imported in sorted(set(_imported(tree)) - {importer})
    ]
    return pd.DataFrame(rows, columns=["importer", "imported"])


def floor_of(module: str) -> int:
    """Return the floor of a module: that of its package. Raises ConfigError if it is on none."""
    package = module.partition(".")[0]
    for floor, names in enumerate(FLOORS):
        if package in names.split():
            return floor
    raise ConfigError(f"{package} is on no floor; give it one in FLOORS")


def upward() -> pd.DataFrame:
    """Return the imports from a higher floor, of which there should be none.

    The root of the package, which only names what users call, is on no floor.
    """
    frame = imports().query("importer != ''")
    higher = frame["imported"].map(floor_of) > frame["importer"].map(floor_of)
    return frame[higher]


def bodies() -> pd.DataFrame:
    """Return one row per body of a leaf: `leaf`, its `interface`, `kind` (real, simulated), `module`, `body`.

    A body is a class with all methods of the interface, its own or those of a base in the same package.
    """
    rows = []
    for leaf, interface in LEAVES.items():
        wanted = _classes(leaf)[interface][1]
        for kind, package in (("real", leaf), ("simulated", SIMULATED)):
            rows += [
                (leaf, interface, kind, module, name)
                for name, (module, methods) in _classes(package).items()
                if methods >= wanted and name != interface
            ]
    found = pd.DataFrame(rows, columns=["leaf", "interface", "kind", "module", "body"])
    bases = {base for tree in trees().values() for cls in _defined(tree) for base in _bases(cls)}
    return found[~found["body"].isin(bases)].reset_index(drop=True)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lambdascale."):
            base = str(node.module).removeprefix("lambdascale.")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in trees() else base


def _classes(package: str) -> dict[str, tuple[str, Methods]]:
    """Every class of a package: its module, and its methods, those of its bases included."""
    found = {
        cls.name: (module, cls)
        for module, tree in trees().items()
        if module.partition(".")[0] == package
        for cls in _defined(tree)
    }

    def methods(name: str) -> Methods:
        _, cls = found[name]
        inherited = (methods(base) for base in _bases(cls) if base in found)
        return frozenset(_own_methods(cls)).union(*inherited)

    return {name: (module, methods(name)) for name, (module, _) in found.items()}


def _defined(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def _own_methods(cls: ast.ClassDef) -> Iterator[tuple[str, int]]:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.decorator_list:
            yield node.name, len(node.args.args)


def _bases(cls: ast.ClassDef) -> list[str]:
    return [base.id for base in cls.bases if isinstance(base, ast.Name)]
