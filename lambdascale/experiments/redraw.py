"""`python -m lambdascale.experiments.redraw`: draw every figure again from its CSVs, without any run.

The CSVs are those that `make reference` committed, or those of any folder of results.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from lambdascale.claims.book import ROOT
from lambdascale.errors import ConfigError, LambdaScaleError
from lambdascale.experiments.found import REFERENCE
from lambdascale.figures import kept

OUT = ROOT / "results" / "figures"


def redraw_all(source: Path, out: Path) -> list[Path]:
    """Draw every figure that is kept below `source` into the same folder below `out`; return their paths.

    Raises ConfigError if there is none, or a CSV is missing.
    """
    notes = list(kept.kept_in(source))
    if not notes:
        raise ConfigError(
            f"{source} keeps no figures; name a folder of results: make figures FROM=results/runs"
        )
    folders = [out / note.parent.parent.relative_to(source) for note in notes]
    with ProcessPoolExecutor() as processes:
        return list(processes.map(_redraw, notes, folders))


def _redraw(note: Path, out: Path) -> Path:
    kept.redraw(note, out)
    return out / f"{note.stem}.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="draw every figure again from its CSVs")
    parser.add_argument("--source", type=Path, default=REFERENCE, help="folder of results")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the figures")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    try:
        drawn = redraw_all(options.source, options.out)
    except LambdaScaleError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    print(*drawn, sep="\n")
    print(f"{len(drawn)} figures, each as PNG and PDF, in {time.monotonic() - started_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
