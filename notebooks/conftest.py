"""What nbval does not compare: progress on stderr, widgets and pictures, which differ between runs."""

from pathlib import Path

import pytest

from lambdascale.experiments.jobs import PROFILES

MEASURED = {
    "00_start_here",  # runs real processes, and is no job
    *(Path(job.notebook).name for jobs in PROFILES.values() for job in jobs if job.measured),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks that measure time on this machine have it to themselves."""
    for item in items:
        if item.path.suffix == ".ipynb" and item.path.stem in MEASURED:
            item.add_marker(pytest.mark.alone)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Extend nbval's own list on every notebook."""
    if collector.path.suffix == ".ipynb" and hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "stderr",
            "text/html",
            "image/png",
            "application/vnd.jupyter.widget-view+json",
        )
