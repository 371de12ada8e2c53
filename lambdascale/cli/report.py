"""A finished run as text and as JSON."""

from collections.abc import Iterator, Sequence

from lambdascale.cli.losses import losses_json, losses_text
from lambdascale.errors import ConfigError
from lambdascale.experiments.results import RunResult
from lambdascale.workload.request import Request

WIDTH = 64  # characters of the timeline
PHASES = {
    "inputs ready": "the model is packed, the prompts are tokenised",
    "agents up": "every node's process has started",
    "prepared": "memory and engines are ready, the sources hold the model",
    "connected": "the links between the nodes are open",
    "started": "the scale-out begins",
    "first block": "a receiver holds its first block",
    "covered": "the receivers together hold every block",
    "pipeline formed": "some receivers serve together, each with a part of the model",
    "first token of a receiver": "",
    "complete": "every node holds every block",
    "switched": "every node serves on its own",
    "finished": "every answer is complete",
}


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
        "steps": int(result.nodes["steps"].sum()),
        "overruns": int(result.nodes["overruns"].sum()),
        "corrupt_blocks": result.num_corrupt,
        "losses": losses_json(result),
    }


def run_table(result: RunResult) -> str:
    """Return the timeline of the nodes, one row per phase, and a summary."""
    return "\n".join(["", *_timeline(result), "", *_phases(result), "", *_summary(result)])


def _phases(result: RunResult) -> Iterator[str]:
    yield f"{'phase':<26}{'at [s]':>9}{'took [s]':>10}"
    for row in result.phases.to_dict("records"):
        end_s, meaning = row["start_s"] + row["seconds"], PHASES.get(row["phase"], "")
        yield f"{row['phase']:<26}{end_s:>9.3f}{row['seconds']:>10.3f}   {meaning}".rstrip()


def _summary(result: RunResult) -> Iterator[str]:
    requests = result.requests
    if not requests.empty:
        ttft, last_s = requests["ttft_s"], requests["finished_s"].max()
        yield (
            f"{len(requests)} answers of {requests['output_tokens'].sum()} tokens in {last_s:.2f} s; "
            f"time to first token: median {ttft.median():.2f} s, longest {ttft.max():.2f} s"
        )
    if lost := losses_text(result):
        yield lost
    if result.num_corrupt:
        yield f"{result.num_corrupt} corrupted blocks were detected and fetched again"
    overruns, steps = result.nodes["overruns"].sum(), result.nodes["steps"].sum()
    floored = any(spec.device is not None for spec in result.specs)
    floor = f"; {overruns} of {steps} steps overran the device floor" if floored else ""
    yield f"these figures are {result.provenance}{floor}"


def _timeline(result: RunResult) -> list[str]:
    """One line a node: · nothing yet, ░ loading, ▒ in an execution pipeline, █ replica."""
    end_s = float(result.phases["start_s"].add(result.phases["seconds"]).max())
    if end_s <= 0:
        raise ConfigError("the run has no duration")
    times = [(i + 1) * end_s / WIDTH for i in range(WIDTH)]
    nodes = [int(node) for node in result.nodes["node"]]
    lines = [
        f"node {node:<4}" + "".join(_cell(result, node, time_s) for time_s in times)
        for node in nodes
    ]
    return [*lines, f"{'':<9}0 s{f'{end_s:.1f} s':>{WIDTH - 3}}", _legend()]


def _legend() -> str:
    return f"{'':<9}· waiting   ░ loading   ▒ serving in a pipeline   █ serving on its own"


def _cell(result: RunResult, node: int, time_s: float) -> str:
    stages = result.pipelines[result.pipelines["node"] == node]
    now = stages[
        (stages["formed_s"] <= time_s) & ~(stages["dissolved_s"].fillna(float("inf")) <= time_s)
    ]
    if not now.empty:
        return "█" if (now["kind"] == "replica").any() else "▒"
    arrived = result.blocks[result.blocks["node"] == node]["verified_s"]
    return "░" if (arrived <= time_s).any() else "·"
