"""The explorer in a real browser: JupyterLab runs its cells, a control is changed, the picture follows."""

import os
import shutil
from pathlib import Path

import browser
import pytest
from browser import ROOT, Page
from PIL import Image

pytestmark = pytest.mark.alone

NOTEBOOK = ROOT / "notebooks/explore/multicast_explorer.ipynb"
PICTURE = "document.querySelector('.jp-OutputArea-output img.widget-image')"
LINES = "[...document.querySelectorAll('.widget-html-content')].map(e => e.innerText)"
RUN_ALL, SESSIONS = "'notebook:run-all-cells'", "fetch('/api/sessions').then(r => r.json())"
RIGHT = ("ArrowRight", 39)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Where screenshots are kept: the folder PYTEST_ARTIFACTS, or pytest's own."""
    folder = Path(os.environ.get("PYTEST_ARTIFACTS", tmp_path / "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def line(page: Page) -> str:
    """What the explorer says."""
    return " ".join(page.evaluate(LINES))


def move(page: Page, slider: str, key: tuple[str, int]) -> None:
    """Move the handle of the slider with this label by a key."""
    labels = "[...document.querySelectorAll('.widget-label')]"
    row = f"{labels}.find(e => e.innerText === '{slider}').parentElement"
    page.evaluate(f"{row}.querySelector('.noUi-handle').focus()")
    page.key(*key)


def changed(page: Page, before: str, what: str) -> str:
    """Wait for another picture, and return it."""
    return page.until(f"{PICTURE}.src !== '{before}' && {PICTURE}.src", what)


def run_all_cells(page: Page, address: str) -> None:
    page.command("Page.navigate", url=address)
    page.until("!!document.querySelector('.jp-Notebook .jp-MarkdownCell')", "the notebook")
    page.until(f"{SESSIONS}.then(all => all[0]?.kernel.execution_state === 'idle')", "the kernel")
    page.click(".jp-Notebook .jp-MarkdownCell")
    page.until(f"jupyterapp.commands.isEnabled({RUN_ALL})", "the command")
    page.evaluate(f"void jupyterapp.commands.execute({RUN_ALL})")
    page.until(f"!!{PICTURE}", "the explorer")


def test_the_explorer_answers_in_a_browser(tmp_path: Path, artifacts: Path) -> None:
    browser.chromium()
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    shutil.copy(NOTEBOOK, notebooks)
    with browser.lab(notebooks, tmp_path) as address_of, browser.page_of(tmp_path) as page:
        run_all_cells(page, address_of(f"lab/tree/{NOTEBOOK.name}"))
        first = page.until(f"{PICTURE}?.src", "the first picture")
        assert "after 17 block times" in line(page)
        move(page, "nodes N", RIGHT)
        second = changed(page, first, "the picture of nine nodes")
        page.until(f"{LINES}.join().includes('after 21 block times')", "the line of nine nodes")
        shot = page.screenshot(artifacts / "explorer.png")
        page.click(".widget-play button")
        third = changed(page, second, "the first moment that is played")
        changed(page, third, "the next one")
        assert "after 21 block times" in line(page)
    print(f"screenshot: {shot}")
    with Image.open(shot) as picture:
        assert picture.width >= 1000
        assert len(picture.getcolors(maxcolors=1 << 24)) > 100
