"""The answers of a run as text."""

import pandas as pd

from lambdascale.experiments.results import RunResult
from lambdascale.model.catalogue import load_packed
from lambdascale.model.text import Tokenizer


def answers(result: RunResult) -> pd.DataFrame:
    """Return one row per request of the first run: what was asked, answered, when and by whom."""
    spec = result.scale_out_specs[0]
    tokenizer = Tokenizer(load_packed(spec.model, spec.dtype))
    outputs = result.outputs()
    requests = result.requests[result.requests["run"] == spec.label].set_index("request")
    rows = [
        {
            "prompt": prompt,
            "answer": " ".join(tokenizer.decode(outputs.get(i, ())).split()),
            "ttft_s": requests.loc[i, "ttft_s"],
            "served_by": requests.loc[i, "served_by"],
        }
        for i, prompt in enumerate(spec.prompts)
    ]
    return pd.DataFrame(rows)
