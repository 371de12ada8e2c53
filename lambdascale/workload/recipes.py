"""The generated traces by name: which numbers of which real trace each one follows (`generator`)."""

from dataclasses import dataclass

DAY_S = 86_400
# Requests per minute of the authors' snippet (paper.md 6.3), which ends 23 s into its last minute.
SNIPPET = (
    *(32, 43, 9, 22, 43, 9, 19, 19, 33, 23, 6, 7, 10, 10, 8),
    *(37, 16, 6, 15, 12, 11, 13, 14, 5, 3, 9, 10, 13, 22, 19),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A generated trace: `rates` and `lengths` name entries of `observed`.

    `totals` are the requests in each part of `part_s` seconds (empty: as chance has it). `profile` scales
    the rate in each of its equal parts of the whole. `like` is the real trace of the catalogue, if it
    is there.
    """

    about: str
    rates: str
    lengths: str
    duration_s: int
    totals: tuple[int, ...] = ()
    part_s: int = 0
    profile: str = ""
    like: str = ""


RECIPES = {
    "burstgpt-like": Recipe(
        "30 minutes with the requests per minute of the paper's BurstGPT snippet",
        *("trace0", "burstgpt"), duration_s=1763,
        totals=SNIPPET, part_s=60, like="lambdascale_trace0_30min",
    ),
    "azure-conv-like": Recipe(
        "30 minutes of conversations, nearly steady",
        *("azure_conv", "azure_conv"), duration_s=1800, like="azure_conv_30min",
    ),
    "azure-code-like": Recipe(
        "30 minutes of code completion, which comes in spikes",
        *("azure_code", "azure_code"), duration_s=1800, like="azure_code_30min_spiky",
    ),
    "day-like": Recipe(
        "a day of 100,000 requests with BurstGPT's hours and bursts",
        *("trace1", "burstgpt"), duration_s=DAY_S,
        totals=(100_000,), part_s=DAY_S, profile="burstgpt_hours",
    ),
}  # fmt: skip
