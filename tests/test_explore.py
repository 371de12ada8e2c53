"""The explorer follows its controls: every change is a new picture, or one line that says why not."""

import doctest
import subprocess
import sys
from base64 import b64decode
from itertools import chain
from pathlib import Path

import pytest

from lambdascale import explore as module
from lambdascale.errors import ConfigError
from lambdascale.experiments.scenario import Scenario, foretell
from lambdascale.explore import Explorer, State, explore, picture, sentence
from lambdascale.figures import style

PNG = b"\x89PNG"


@pytest.fixture
def explorer() -> Explorer:
    return Explorer(Scenario("kway", 8, 2, 16))


def test_the_first_state_is_the_end_of_the_first_scenario(explorer: Explorer) -> None:
    first = foretell(explorer.controls.scenario())
    assert (explorer.now.value, explorer.now.max, explorer.play.max) == (17, 17, 17)
    assert explorer.image.value == style.png(picture(State(first.scenario)))
    assert explorer.line.value == sentence(first)


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("num_nodes", 9),
        ("num_sources", 4),
        ("num_blocks", 5),
        ("algorithm", "chain"),
        ("slow_node", 3),
        ("killed_node", 3),
    ],
)
def test_every_control_changes_picture_and_line(
    explorer: Explorer, control: str, value: object
) -> None:
    before = explorer.image.value, explorer.line.value
    getattr(explorer.controls, control).value = value
    outcome = foretell(explorer.controls.scenario())
    assert getattr(outcome.scenario, control) == value
    assert explorer.image.value != before[0]
    assert explorer.line.value == sentence(outcome) != before[1]
    assert bytes(explorer.image.value).startswith(PNG)


def test_rate_and_time_matter_only_with_a_node_to_apply_to(explorer: Explorer) -> None:
    before = explorer.image.value
    explorer.controls.slow_rate.value = 0.5
    explorer.controls.killed_at.value = 3
    assert explorer.image.value == before
    explorer.controls.slow_node.value = explorer.controls.killed_node.value = 5
    assert "0.5" in str(explorer.controls.scenario())
    assert "all survivors hold all blocks" in explorer.line.value
    assert "the repair sends" in explorer.line.value


def test_each_moment_is_a_picture_and_the_line_stays(explorer: Explorer) -> None:
    line, pictures = explorer.line.value, set()
    for moment in (0, 4, 9, 17):
        explorer.now.value = moment
        state = State(explorer.controls.scenario(), moment)
        assert explorer.image.value == style.png(picture(state))
        pictures.add(bytes(explorer.image.value))
    assert len(pictures) == 4
    assert explorer.line.value == line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_sources": 8}, "sources is 8; it must be at least 1 and less than nodes (8)"),
        ({"num_blocks": 1}, "blocks is 1; use at least one per source (2)"),
        ({"slow_node": 20}, "slow node is 20; nodes are 0 to 7"),
        ({"num_sources": 1, "killed_node": 0, "killed_at": 4}, "survive on no node"),
    ],
)
def test_what_cannot_work_is_one_line_and_goes_away_again(
    explorer: Explorer, changes: dict[str, object], message: str
) -> None:
    image, line = explorer.image.value, explorer.line.value
    first = {name: getattr(explorer.controls, name).value for name in changes}
    for name, value in changes.items():
        getattr(explorer.controls, name).value = value
    assert message in explorer.line.value
    assert len(explorer.line.value.splitlines()) == 1
    assert explorer.image.layout.display == "none"
    for name, value in first.items():
        getattr(explorer.controls, name).value = value
    assert (explorer.line.value, explorer.image.layout.display) == (line, None)
    assert explorer.image.value == image


def test_whoever_has_no_widgets_sees_the_picture(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert b64decode(str(bundle["image/png"])) == explorer.image.value


def test_a_first_scenario_that_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="sources is 4"):
        explore(Scenario("kway", 4, 4, 16))
    with pytest.raises(ConfigError, match="nodes is 33; the explorer has 2 to 32"):
        explore(Scenario("kway", 33, 2, 16))
    with pytest.raises(ConfigError, match="blocks is 65; the explorer has 1 to 64"):
        explore(Scenario("kway", 32, 2, 65))


def test_the_largest_state_of_the_sliders_is_drawn() -> None:
    largest = Scenario("tree", module.MOST_NODES, 1, module.MOST_BLOCKS, slow_node=3)
    assert style.png(picture(State(largest, 20))).startswith(PNG)


def test_the_committed_notebook_has_run_and_is_thin() -> None:
    nbformat = pytest.importorskip("nbformat")
    path = Path(__file__).parent.parent / "notebooks/explore/multicast_explorer.ipynb"
    code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    kinds = set(chain.from_iterable(o.get("data", {}) for o in code[-1].outputs))
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= kinds
    assert all(len(c.source.splitlines()) <= 8 for c in code)


def test_the_explorer_needs_no_torch() -> None:
    code = "import sys, lambdascale.explore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(module).failed == 0
