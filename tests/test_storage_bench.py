"""The storage bench at a small size: both sides move the image (it checks that itself) and are timed."""

from pathlib import Path

import pytest

from lambdascale.experiments.bench_storage import measure, table

pytestmark = pytest.mark.alone


def test_both_sides_move_the_image_and_are_timed(tmp_path: Path) -> None:
    image = tmp_path / "image.bin"
    image.write_bytes(bytes(i * i % 251 for i in range(300_001)))
    moving = measure(image, rounds=2)
    assert min(moving.load_s, moving.readinto_s, moving.copy_s, moving.memcpy_s) > 0
    assert f"{moving.load_ratio:.2f}" in table(moving)
    assert f"{moving.copy_ratio:.2f}" in table(moving)
