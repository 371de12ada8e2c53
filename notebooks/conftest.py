"""What nbval does not compare: progress on stderr, widgets and pictures, which differ between runs."""

import pytest

CELL_S = 400.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cells that run real processes are slow beside other tests."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.timeout(CELL_S))


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Extend nbval's own list on every notebook."""
    if collector.path.suffix == ".ipynb" and hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "stderr",
            "text/html",
            "image/png",
            "application/vnd.jupyter.widget-view+json",
        )
