"""`lambdascale fetch`: a model's weights, packed in the cache; or a real trace, as a file in the cache."""

import argparse
import json

from lambdascale.errors import ConfigError
from lambdascale.experiments.spec import REAL_DTYPES
from lambdascale.model.catalogue import CATALOGUE, load_packed
from lambdascale.workload.catalogue import CATALOGUE as TRACES


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    known = ", ".join(CATALOGUE)
    what.add_argument("--model", help=f"{known}, or a folder of Hugging Face safetensors")
    what.add_argument("--trace", metavar="NAME", help=f"a real trace: {', '.join(TRACES)}")
    parser.add_argument(
        "--dtype", default="float32", help=f"{' or '.join(REAL_DTYPES)} (default float32)"
    )


def run(options: argparse.Namespace) -> None:
    facts, text = _trace(options.trace) if options.trace else _model(options.model, options.dtype)
    print(json.dumps(facts) if options.json else text)


def _model(name: str, dtype: str) -> tuple[dict[str, object], str]:
    if dtype not in REAL_DTYPES:
        known = ", ".join(REAL_DTYPES)
        raise ConfigError(f"dtype {dtype!r} cannot be run here; use one of {known}")
    layout = (packed := load_packed(name, dtype)).layout
    facts = {
        "model": layout.model,
        "dtype": layout.dtype,
        "layers": layout.num_layers,
        "nbytes": layout.nbytes,
        "image": str(packed.image),
    }
    size = f"{layout.nbytes / 1e6:.0f} MB in {layout.dtype}, {layout.num_layers} layers"
    return facts, f"{layout.model} is ready: {size}, packed in {packed.image}"


def _trace(name: str) -> tuple[dict[str, object], str]:
    from lambdascale.workload.fetch import fetch
    from lambdascale.workload.named import check_real, default_folders, find_real, load_trace

    check_real(name)
    folders = default_folders()
    path = find_real(name, folders) or fetch(name, folders[-1])
    load_trace(name, folders=(path.parent,))  # refuses a file that is another trace
    trace = TRACES[name]
    facts = {
        "trace": name,
        "file": str(path),
        "requests": trace.num_rows,
        "sources": [source.address for source in trace.sources],
        "licence": trace.licence,
        "lengths": trace.lengths,
    }
    return facts, f"{name} is ready: {trace.num_rows} requests in {path}; {trace.licence}"
