"""`lambdascale fetch`: put a model's weights into the cache, packed and ready to scale."""

import argparse
import json

from lambdascale.model.catalogue import load_packed


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a catalogue name or a checkpoint folder")
    parser.add_argument("--dtype", default="float32", help="float32 (default) or bfloat16")


def run(options: argparse.Namespace) -> None:
    packed = load_packed(options.model, options.dtype)
    facts = {
        "model": packed.layout.model,
        "dtype": packed.layout.dtype,
        "layers": packed.layout.num_layers,
        "nbytes": packed.layout.nbytes,
        "image": str(packed.image),
    }
    if options.json:
        print(json.dumps(facts))
    else:
        print(
            f"{facts['model']} ({facts['dtype']}, {facts['layers']} layers, "
            f"{packed.layout.nbytes / 1e6:.0f} MB) is ready"
        )
