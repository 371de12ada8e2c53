"""Prepare what tests need torch for, outside the virtual machine, where it would take minutes.

python prepare.py FOLDER: a small Llama with random weights, packed, and FOLDER/expected.json with what
`transformers` generates for some prompts: [prompt ids, output ids] of each.
"""

import json
import os
import sys
from pathlib import Path

from tiny import save_tiny

from lambdascale.experiments.inputs import load_inputs
from lambdascale.experiments.parity import reference_outputs
from lambdascale.experiments.spec import RunSpec

NUM_REQUESTS = 8
MAX_TOKENS = 24


def main(folder: Path) -> None:
    model = folder / "llama"
    model.mkdir(parents=True)
    save_tiny(model, "llama", tied=False, sharded=False)
    os.environ["LAMBDASCALE_CACHE"] = str(folder / "cache")
    prompts = tuple(f"number {number}" for number in range(NUM_REQUESTS))
    spec = RunSpec(model=str(model), prompts=prompts, max_tokens=MAX_TOKENS)
    outputs = reference_outputs(spec)
    pairs = [(request.prompt, outputs[request.id]) for request in load_inputs(spec).requests]
    (folder / "expected.json").write_text(json.dumps(pairs), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
