"""What nbval does not compare: progress on stderr, widgets and pictures, which differ between runs."""

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Extend nbval's own list on every notebook."""
    if collector.path.suffix == ".ipynb" and hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "stderr",
            "text/html",
            "image/png",
            "application/vnd.jupyter.widget-view+json",
        )
