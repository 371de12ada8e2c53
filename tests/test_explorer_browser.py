"""The widgets in a real browser: JupyterLab runs the cells, what is typed or moved shows."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import browser
import pytest
from browser import ROOT, Page
from PIL import Image

pytestmark = pytest.mark.alone

NOTEBOOKS = ROOT / "notebooks"
QUICK = {
    "link_gbps = 0.8": "link_gbps = 4.0",
    "max_tokens = 32": "max_tokens = 8",
    "Tell me a short story about a cat.": "",
}
PICTURES = "[...document.querySelectorAll('.jp-OutputArea-output img.widget-image')]"
LINES = "[...document.querySelectorAll('.widget-html-content')].map(e => e.innerText).join()"
LABELS = "[...document.querySelectorAll('.widget-label')]"
PROMPT = ".jp-OutputArea-output .widget-text input"
RUN_ALL, SESSIONS = "'notebook:run-all-cells'", "fetch('/api/sessions').then(r => r.json())"
LEFT, RIGHT = ("ArrowLeft", 37), ("ArrowRight", 39)
BACKSPACE, ENTER = ("Backspace", 8), ("Enter", 13, "\r")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Where screenshots are kept: the folder PYTEST_ARTIFACTS, or pytest's own."""
    folder = Path(os.environ.get("PYTEST_ARTIFACTS", tmp_path / "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def address_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """One JupyterLab for all tests; from the name of a notebook to the address of a quick copy of it."""
    browser.chromium()
    folder = tmp_path_factory.mktemp("lab")
    copies = folder / "notebooks"
    copies.mkdir()
    with browser.lab(copies, folder) as address:

        def copied(notebook: str) -> str:
            text = (NOTEBOOKS / notebook).read_text(encoding="utf-8")
            for usual, quick in QUICK.items():
                text = text.replace(usual, quick)
            copy = copies / Path(notebook).name
            copy.write_text(text, encoding="utf-8")
            return address(f"lab/tree/{copy.name}")

        yield copied


@pytest.fixture
def page(tmp_path: Path, artifacts: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page, and what it looks like at the end of the test, however that comes."""
    browser.chromium()
    with browser.page_of(tmp_path) as page:
        try:
            yield page
        finally:
            page.screenshot(artifacts / f"{request.node.name}.png")


def run_all_cells(page: Page, address: str) -> None:
    name = address.partition("/tree/")[2].partition("?")[0]
    idle = f"s => s.path === {json.dumps(name)} && s.kernel.execution_state === 'idle'"
    page.command("Page.navigate", url=address)
    page.until("!!document.querySelector('.jp-Notebook .jp-MarkdownCell')", "the notebook")
    page.until(f"{SESSIONS}.then(all => all.some({idle}))", "a kernel")
    page.click(".jp-Notebook .jp-MarkdownCell")
    page.until(f"jupyterapp.commands.isEnabled({RUN_ALL})", "the command")
    page.evaluate(f"void jupyterapp.commands.execute({RUN_ALL})")


def move(page: Page, slider: str, key: tuple[str, int]) -> None:
    """Move the handle of the first slider with this label by a key."""
    row = f"{LABELS}.find(e => e.innerText === '{slider}').parentElement"
    page.evaluate(f"{row}.scrollIntoView()")
    page.evaluate(f"{row}.querySelector('.noUi-handle').focus()")
    page.key(*key)


def changed(page: Page, before: str, what: str) -> str:
    """Wait for another first picture, and return it."""
    return page.until(f"{PICTURES}[0].src !== '{before}' && {PICTURES}[0].src", what)


def said(page: Page, text: str, seconds: float = 30.0) -> None:
    """Wait until some line has this text."""
    page.until(f"{LINES}.includes({json.dumps(text)})", text, seconds)


def write(page: Page, text: str) -> None:
    """Type something else into the prompt and press Enter."""
    page.evaluate(f"document.querySelector('{PROMPT}').scrollIntoView()")
    page.evaluate(f"document.querySelector('{PROMPT}').select()")
    page.key(*BACKSPACE)
    page.command("Input.insertText", text=text)
    page.key(*ENTER)


def check_picture(path: Path) -> None:
    print(f"screenshot: {path}")
    with Image.open(path) as picture:
        assert picture.width >= 1000
        assert len(picture.getcolors(maxcolors=1 << 24)) > 100


def test_a_prompt_is_served_and_a_schedule_follows_its_sliders(
    page: Page, address_of: Callable[[str], str], artifacts: Path
) -> None:
    run_all_cells(page, address_of("00_start_here.ipynb"))
    page.until(f"{PICTURES}.length === 2", "both explorers", 60)
    said(page, "the prompt is empty")
    write(page, "What do bees make?")
    said(page, "8 tokens came from nodes", 60)
    said(page, "Bees are")
    check_picture(page.screenshot(artifacts / "prompt.png"))
    first = page.evaluate(f"{PICTURES}[0].src")
    move(page, "nodes N", RIGHT)
    second = changed(page, first, "the picture of nine nodes")
    move(page, "NIC Gbit/s", RIGHT)
    said(page, "at 200 Gbit/s")
    check_picture(page.screenshot(artifacts / "schedule.png"))
    page.click(".widget-play button")
    changed(page, changed(page, second, "the first moment that is played"), "the next one")


def test_another_question_has_its_answer_beside_the_one_before(
    page: Page, address_of: Callable[[str], str], artifacts: Path
) -> None:
    run_all_cells(page, address_of("explore/whatif.ipynb"))
    said(page, "first token, P90", 60)
    assert "before" not in page.evaluate(LINES)
    first = page.evaluate(f"{PICTURES}[0].src")
    move(page, "link Gbit/s", LEFT)
    said(page, "before")
    changed(page, first, "the picture of 200 Gbit/s")
    check_picture(page.screenshot(artifacts / "whatif.png"))
