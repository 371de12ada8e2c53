"""A finished run as text and as JSON."""

from collections.abc import Sequence

from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.model.text import Tokenizer
from lambdascale.workload.request import Request

WIDTH = 64  # characters of the timeline


def run_json(
    result: RunResult, requests: Sequence[Request], prompts: Sequence[str | None]
) -> dict[str, object]:
    """Return `phases` and `requests` (and what was run) as JSON-ready data."""
    outputs = result.outputs()
    rows = result.requests.to_dict("records")
    return {
        "provenance": result.provenance,
        "phases": result.phases[["phase", "start_s", "seconds"]].to_dict("records"),
        "requests": [
            {
                "prompt": prompt,
                "prompt_token_ids": list(request.prompt),
                "output_token_ids": list(outputs[request.id]),
                "ttft_s": rows[request.id]["ttft_s"],
                "served_by": rows[request.id]["served_by"].split(" > "),
            }
            for request, prompt in zip(requests, prompts, strict=True)
        ],
        "overruns": int(result.nodes["overruns"].sum()),
        "corrupt_blocks": result.num_corrupt,
    }


def answers(result: RunResult, prompts: Sequence[str], tokenizer: Tokenizer) -> str:
    """Return each prompt with its answer, when it began and who gave it."""
    outputs = result.outputs()
    rows = result.requests.to_dict("records")
    lines = []
    for request, prompt in enumerate(prompts):
        row = rows[request]
        text = " ".join(tokenizer.decode(outputs[request]).split())
        lines.append(f"[{request}] {prompt}\n    {text}")
        lines.append(f"    first token after {row['ttft_s']:.2f} s, by {row['served_by']}")
    return "\n".join(lines)


def run_table(result: RunResult) -> str:
    """Return the timeline of the nodes and one row per phase."""
    phases = result.phases
    lines = ["", *_timeline(result), "", f"{'phase':<26}{'at [s]':>10}{'took [s]':>10}"]
    lines += [
        f"{row['phase']:<26}{row['start_s'] + row['seconds']:>10.3f}{row['seconds']:>10.3f}"
        for row in phases.to_dict("records")
    ]
    overruns, steps = result.nodes["overruns"].sum(), result.nodes["steps"].sum()
    floor = f"; {overruns} of {steps} steps overran the device floor" if _floored(result) else ""
    return "\n".join([*lines, "", f"these figures are {result.provenance}{floor}"])


def _floored(result: RunResult) -> bool:
    return any(spec.device is not None for spec in result.specs)


def _timeline(result: RunResult) -> list[str]:
    """One line a node: · nothing yet, ░ loading, ▒ in an execution pipeline, █ replica."""
    end_s = float(result.phases["start_s"].add(result.phases["seconds"]).max())
    if end_s <= 0:
        raise ConfigError("the run has no duration")
    times = [i * end_s / WIDTH for i in range(WIDTH)]
    nodes = [int(node) for node in result.nodes["node"]]
    lines = [
        f"node {node:<4}" + "".join(_cell(result, node, time_s) for time_s in times)
        for node in nodes
    ]
    return [*lines, f"{'':<9}0 s{f'{end_s:.1f} s':>{WIDTH - 3}}", _legend()]


def _legend() -> str:
    return f"{'':<9}· waiting   ░ loading   ▒ serving in a pipeline   █ replica"


def _cell(result: RunResult, node: int, time_s: float) -> str:
    stages = result.pipelines[result.pipelines["node"] == node]
    now = stages[
        (stages["formed_s"] <= time_s) & ~(stages["dissolved_s"].fillna(float("inf")) <= time_s)
    ]
    if not now.empty:
        return "█" if (now["kind"] == "replica").any() else "▒"
    arrived = result.blocks[result.blocks["node"] == node]["verified_s"]
    return "░" if (arrived <= time_s).any() else "·"
