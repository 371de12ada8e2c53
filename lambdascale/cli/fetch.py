"""`lambdascale fetch`: a model's weights, packed in the cache."""

import argparse
import json

from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import REAL_DTYPES
from lambdascale.model.catalogue import CATALOGUE, load_packed


def add_options(parser: argparse.ArgumentParser) -> None:
    known = ", ".join(CATALOGUE)
    parser.add_argument(
        "--model", required=True, help=f"{known}, or a folder of Hugging Face safetensors"
    )
    parser.add_argument(
        "--dtype", default="float32", help=f"{' or '.join(REAL_DTYPES)} (default float32)"
    )


def run(options: argparse.Namespace) -> None:
    if options.dtype not in REAL_DTYPES:
        known = ", ".join(REAL_DTYPES)
        raise ConfigError(f"dtype {options.dtype!r} cannot be run here; use one of {known}")
    layout = (packed := load_packed(options.model, options.dtype)).layout
    facts = {
        "model": layout.model,
        "dtype": layout.dtype,
        "layers": layout.num_layers,
        "nbytes": layout.nbytes,
        "image": str(packed.image),
    }
    if options.json:
        print(json.dumps(facts))
        return
    size = f"{layout.nbytes / 1e6:.0f} MB in {layout.dtype}, {layout.num_layers} layers"
    print(f"{layout.model} is ready: {size}, packed in {packed.image}")
