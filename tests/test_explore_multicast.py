"""The explorer follows its controls: every change is a new picture, or one line that says why not."""

import doctest
import subprocess
import sys
from base64 import b64decode

import pytest

from lambdascale.errors import ConfigError
from lambdascale.experiments.scenario import Scenario, foretell
from lambdascale.explore import link
from lambdascale.explore import multicast as module
from lambdascale.explore.link import Link
from lambdascale.explore.multicast import BEST, Explorer, State, explore, picture, sentence, told
from lambdascale.figures import style

PNG = b"\x89PNG"


@pytest.fixture
def explorer() -> Explorer:
    return Explorer(Scenario("kway", 8, 2, 16))


def test_the_first_state_is_the_end_of_the_first_scenario(explorer: Explorer) -> None:
    first = foretell(explorer.controls.scenario())
    assert (explorer.now.value, explorer.now.max, explorer.play.max) == (17, 17, 17)
    assert explorer.told.image.value == style.png(picture(State(first.scenario)))
    assert explorer.told.line.value == told(first, Link())


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
    before = explorer.told.image.value, explorer.told.line.value
    getattr(explorer.controls, control).value = value
    outcome = foretell(explorer.controls.scenario())
    assert getattr(outcome.scenario, control) == value
    assert explorer.told.image.value != before[0]
    assert explorer.told.line.value == told(outcome, Link()) != before[1]
    assert sentence(outcome) in explorer.told.line.value
    assert bytes(explorer.told.image.value).startswith(PNG)


def test_rate_and_time_matter_only_with_a_node_to_apply_to(explorer: Explorer) -> None:
    before = explorer.told.image.value
    explorer.controls.slow_rate.value = 0.5
    explorer.controls.killed_at.value = 3
    assert explorer.told.image.value == before
    explorer.controls.slow_node.value = explorer.controls.killed_node.value = 5
    assert "0.5" in str(explorer.controls.scenario())
    assert "all survivors hold all blocks" in explorer.told.line.value
    assert "the repair sends" in explorer.told.line.value


def test_each_moment_is_a_picture_and_the_line_stays(explorer: Explorer) -> None:
    line, pictures = explorer.told.line.value, set()
    for moment in (0, 4, 9, 17):
        explorer.now.value = moment
        state = State(explorer.controls.scenario(), moment)
        assert explorer.told.image.value == style.png(picture(state))
        pictures.add(bytes(explorer.told.image.value))
    assert len(pictures) == 4
    assert explorer.told.line.value == line


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
    image, line = explorer.told.image.value, explorer.told.line.value
    first = {name: getattr(explorer.controls, name).value for name in changes}
    for name, value in changes.items():
        getattr(explorer.controls, name).value = value
    assert message in explorer.told.line.value
    assert len(explorer.told.line.value.splitlines()) == 1
    assert explorer.told.image.layout.display == "none"
    for name, value in first.items():
        getattr(explorer.controls, name).value = value
    assert (explorer.told.line.value, explorer.told.image.layout.display) == (line, None)
    assert explorer.told.image.value == image


def test_whoever_has_no_widgets_sees_the_picture(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert b64decode(str(bundle["image/png"])) == explorer.told.image.value


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


def test_the_link_chooses_algorithm_and_blocks_if_asked() -> None:
    explorer = Explorer(Scenario("kway", 8, 1, 16), Link("smollm2-135m", 400), best_for_link=True)
    fast = explorer.controls.scenario()
    explorer.controls.link_gbps.value = 1
    slow = explorer.controls.scenario()
    assert slow.num_blocks > 5 * fast.num_blocks
    assert "at 1 Gbit/s: 2." in explorer.told.line.value
    explorer.controls.algorithm.value = "chain"
    assert explorer.controls.scenario().num_blocks == 16


def test_the_rate_of_the_link_changes_seconds_and_not_block_times(explorer: Explorer) -> None:
    image, line = explorer.told.image.value, explorer.told.line.value
    explorer.controls.link_gbps.value = 10
    assert explorer.told.image.value == image
    assert line.split("<br>")[0] == explorer.told.line.value.split("<br>")[0]
    assert "at 10 Gbit/s" in explorer.told.line.value
    assert BEST not in explorer.told.line.value


def test_the_explorer_needs_no_torch() -> None:
    code = "import sys, lambdascale.explore.multicast; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(link).failed == 0
