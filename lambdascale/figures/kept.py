"""A drawing that is kept so that it can be drawn again without a run: its frames as CSV, and a note of how.

    figures/fig07.json   {"draw": "multicast_bars", "style": {"provenance": "simulated"}, "frames": …}
    figures/fig07.csv    what multicast_bars.draw was given (several: fig07.blocks.csv, fig07.nodes.csv)
    figures/fig07.png    and .pdf

It is drawn from what the CSVs say, the first time too: what is drawn again is the same to the last byte.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lambdascale import figures
from lambdascale.errors import ConfigError
from lambdascale.figures import style

FLOAT_FORMAT = "%.9g"  # the last bits of a float differ between machines


def keep(
    folder: Path, name: str, drawing: ModuleType, frames: tuple[pd.DataFrame, ...], **options: Any
) -> Figure:
    """Write what `drawing.draw(*frames, **options)` needs below `folder`, draw it, and write the figure.

    `drawing` is a module of `lambdascale.figures`; `options` are what JSON can say. Raises ConfigError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = {
        "draw": drawing.__name__.rpartition(".")[2],
        "style": options,
        "frames": {
            file: _texts(frame)
            for file, frame in zip(_files(name, drawing, frames), frames, strict=True)
        },
    }
    if json.loads(json.dumps(options)) != options:
        raise ConfigError(f"figure {name}: {options} must be texts, numbers, lists; no tuples")
    for file, frame in zip(note["frames"], frames, strict=True):
        write_csv(frame, folder / file)
    text = json.dumps(note, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return redraw(folder / f"{name}.json", folder)


def redraw(note: Path, out: Path) -> Figure:
    """Draw a kept figure again, from the CSVs beside `note`, and write it into the folder `out`."""
    kept = json.loads(note.read_text(encoding="utf-8"))
    frames = [read_csv(note.parent / file, texts) for file, texts in kept["frames"].items()]
    drawing = import_module(f"{figures.__name__}.{kept['draw']}")
    sheet: Figure = drawing.draw(*frames, **kept["style"])
    style.save(sheet, out / note.stem)
    return sheet


def kept_in(folder: Path) -> Iterator[Path]:
    """Yield the notes of all figures that can be drawn again, in any folder below `folder`."""
    yield from sorted(folder.rglob("figures/*.json"))


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without its index; its floats to nine digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, float_format=FLOAT_FORMAT)


def read_csv(path: Path, texts: list[str]) -> pd.DataFrame:
    """An empty text is a text, an empty number is missing."""
    if not path.is_file():
        raise ConfigError(f"{path} is missing; run the notebook of this figure again")
    kinds: Mapping[Any, Any] = dict.fromkeys(texts, str)
    header = pd.read_csv(path, nrows=0).columns
    empty = {column: [""] for column in header if column not in kinds}
    return pd.read_csv(path, dtype=kinds, na_values=empty, keep_default_na=False)


def _texts(frame: pd.DataFrame) -> list[str]:
    """The columns that are not numbers."""
    return [
        str(name)
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name])  # which booleans are, too
    ]


def _files(name: str, drawing: ModuleType, frames: tuple[pd.DataFrame, ...]) -> list[str]:
    """One frame has the figure's name; of several, each has that of its parameter, too."""
    if not drawing.__name__.startswith(f"{figures.__name__}."):
        raise ConfigError(f"figure {name}: {drawing.__name__} is no module of {figures.__name__}")
    parameters = list(inspect.signature(drawing.draw).parameters)
    if len(frames) == 1:
        return [f"{name}.csv"]
    return [f"{name}.{parameter}.csv" for parameter, _ in zip(parameters, frames, strict=False)]
