"""Notebooks are thin, have one cell of plain parameters, and keep outputs that nbval can compare."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest

from lambdascale.experiments.jobs import PROFILES, check_parameters

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted([*FOLDER.glob("*.ipynb"), *FOLDER.glob("paper/*.ipynb")])
READERS = {"00_start_here", "99_claims"}  # show what others left behind, and are no job
MAX_CELLS, MAX_LINES, MAX_BYTES = 25, 8, 200_000
CHECKED = "nbval-check-output"
DRAWS = re.compile(r"\.(draw|figure)\(\"")
BANNED = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If),
    *(ast.Try, ast.With),
)

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, tag: str = "") -> list[nbformat.NotebookNode]:
    """The code cells, or those with a tag."""
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    return [cell for cell in code if not tag or tag in cell.metadata.get("tags", [])]


def test_a_notebook_is_thin(path: Path):
    assert len(cells(path)) <= MAX_CELLS
    assert path.stat().st_size < MAX_BYTES
    for cell in cells(path):
        tree = ast.parse(cell.source)
        lines = cell.source.splitlines()
        assert len(lines) <= MAX_LINES or "parameters" in cell.metadata.get("tags", []), cell.source
        assert not [node for node in ast.walk(tree) if isinstance(node, BANNED)], cell.source
        assert not {"matplotlib", "seaborn", "os", "pathlib"} & modules(tree)


def modules(tree: ast.AST) -> set[str]:
    """The top-level packages that are imported."""
    names = [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_one_cell_holds_the_parameters_as_plain_scalars(path: Path):
    (cell,) = cells(path, "parameters")
    statements = ast.parse(cell.source).body
    assert all(isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant) for s in statements)
    names = {s.targets[0].id for s in statements}
    assert names == set(papermill.inspect_notebook(str(path)))
    assert "results" in names, "reproduce says where results go"


def test_every_profile_uses_parameters_that_exist(path: Path):
    known = set(papermill.inspect_notebook(str(path)))
    name = path.relative_to(FOLDER).with_suffix("").as_posix()
    jobs = [job for jobs in PROFILES.values() for job in jobs if job.notebook == name]
    assert bool(jobs) != (name in READERS)
    for job in jobs:
        check_parameters(job, known)


def test_a_notebook_was_run_from_top_to_bottom_without_an_error(path: Path):
    code = cells(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_checked_cells_keep_a_printed_output(path: Path):
    checked = cells(path, CHECKED)
    assert checked
    for cell in checked:
        assert [output.name for output in cell.outputs] == ["stdout"], cell.source


def test_figures_are_shown_and_drawn_by_the_library(path: Path):
    drawn = [cell for cell in cells(path) if DRAWS.search(cell.source)]
    assert drawn
    for cell in drawn:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


def test_outputs_name_no_machine(path: Path):
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) + "/" not in text
    assert str(FOLDER.parent) not in text
