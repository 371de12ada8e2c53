"""Real request traces: where each comes from, its licence, what was done to it, and how to check it.

No trace is part of the project. `lambdascale fetch --trace NAME` downloads the upstream file at the commit
given here and converts it (`upstream`); `named` finds it again. A trace of the same name and contents in
another folder is as good.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lambdascale.workload import authors, upstream
from lambdascale.workload.trace import TraceRow

AZURE_LICENCE = "CC-BY-4.0; cite Patel et al., Splitwise, ISCA 2024"
BURSTGPT_LICENCE = "CC-BY-4.0; cite Wang et al., BurstGPT, KDD 2025"
AUTHORS_LICENCE = "MIT; cite arXiv 2502.09922, which does not say where the arrivals come from"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a public GitHub repository at one commit."""

    repository: str
    commit: str
    path: str

    @property
    def address(self) -> str:
        """Where its bytes are."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"


AZURE = "b469a113cedca53ddc3bdea71a143dc4b7d8700c"
CONV = Source("Azure/AzurePublicDataset", AZURE, "data/AzureLLMInferenceTrace_conv.csv")
CODE = Source("Azure/AzurePublicDataset", AZURE, "data/AzureLLMInferenceTrace_code.csv")
AUTHORS = "9db210fcb6979f7c1f73f9819a77e0edb6c5e343"
TRACE0 = Source("lambda-scale/lambda-scale", AUTHORS, "lambda-scale/test/trace_0.txt")
BURST = Source("lambda-scale/lambda-scale", AUTHORS, "lambda-scale/workload/Burst.txt")
BURSTGPT = Source(  # verbatim the head of HPMLL/BurstGPT data/BurstGPT_1.csv, which is far larger
    "GitM-Labs/runtime",
    "458dabfd8b873a98338d3d84959b04d0afe4c47d",
    "benchmarks/traffic_replay/fixtures/burstgpt_slice.csv",
)


@dataclass(frozen=True, slots=True)
class Trace:
    """A real trace; `convert` makes its rows from the texts of `sources`, in their order.

    `rows` says which rows of the source, `lengths` whether prompts and answers are real too. `digest` is
    of the `num_rows` rows as `digest` computes it; `sha256` is that of the CSV file. `like` is the generated
    trace that comes closest.
    """

    sources: tuple[Source, ...]
    rows: str
    licence: str
    num_rows: int
    sha256: str
    digest: str
    convert: Callable[..., tuple[TraceRow, ...]]
    like: str
    lengths: str = "real"
    grain_s: float = 1.0

    def matches(self, rows: Sequence[TraceRow]) -> bool:
        """Tell whether `rows` are those of this trace."""
        return len(rows) == self.num_rows and digest(rows, self.grain_s) == self.digest


def digest(rows: Sequence[TraceRow], grain_s: float) -> str:
    """Return a checksum that does not depend on how times are rounded: of whole `grain_s`, and lengths.

    Where the grain is more than a second, times within it are made up, and so are lengths: neither counts.
    """
    lines = [f"{row.arrival_s // grain_s:.0f}" for row in rows]
    if grain_s <= 1:
        lengths = [f",{row.prompt_tokens},{row.output_tokens},{row.model}" for row in rows]
        lines = [line + length for line, length in zip(lines, lengths, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


CONVERSATIONS = "drawn from those of the Azure conversations; the source has arrivals only"


def _sent(model: str, sha256: str, digest: str) -> Trace:
    """Trace 0 as the authors' sender replays it for one model."""

    def convert(arrivals: str, conversations: str) -> tuple[TraceRow, ...]:
        return authors.as_sent(upstream.trace0(arrivals, conversations), model)

    return Trace(
        sources=(TRACE0, CONV),
        rows="lines 1 to 497",
        licence=AUTHORS_LICENCE,
        num_rows=497,
        sha256=sha256,
        digest=digest,
        convert=convert,
        lengths=CONVERSATIONS,
        like="burstgpt-like",
    )


CATALOGUE = {
    "azure_conv_30min": Trace(
        sources=(CONV,),
        rows="data rows 8925 to 19217, of 30 minutes",
        licence=AZURE_LICENCE,
        num_rows=10293,
        sha256="3728fb48297f928b69256da747602a595847b0eda40153707ae915e4dc7186bf",
        digest="2f2f06dac222cfcc",
        convert=partial(upstream.azure, "azure-conv", 1650.0),
        like="azure-conv-like",
    ),
    "azure_code_30min_spiky": Trace(
        sources=(CODE,),
        rows="data rows 1 to 5740, of 30 minutes",
        licence=AZURE_LICENCE,
        num_rows=5740,
        sha256="ea4c161197a1f465b48ac6b4948444f77c27d66aba9c00c48460fd2978c77c99",
        digest="87b5188f9f23f7d0",
        convert=partial(upstream.azure, "azure-code", 0.0),
        like="azure-code-like",
    ),
    "burstgpt_head_10h": Trace(
        sources=(BURSTGPT,),
        rows="data rows 1 to 400, less 17 that failed",
        licence=BURSTGPT_LICENCE,
        num_rows=383,
        sha256="41bec9a62f3ce27d546353e4935f4ca1d4ef19ee80409d31a20d1223969ff7d6",
        digest="87af15804c5bf3ff",
        convert=partial(upstream.burstgpt, 400),
        like="burstgpt-like",
    ),
    "lambdascale_trace0_30min": Trace(
        sources=(TRACE0, CONV),
        rows="all 498 lines",
        licence=AUTHORS_LICENCE,
        num_rows=498,
        sha256="ac832d313966ea40981d55828fe3947e680ed4f6c84cb5348d72dbcb48e5a3d7",
        digest="17982d0c14c61328",
        convert=upstream.trace0,
        lengths=CONVERSATIONS,
        like="burstgpt-like",
    ),
    "lambdascale_trace0_replay_7b": _sent(
        "llama-2-7b",
        sha256="151ca99331b115e2f371e30e113d544db446fe8a9bcaf023f213738594f73d80",
        digest="f0d97098ff06fbca",
    ),
    "lambdascale_trace0_replay_13b": _sent(
        "llama-2-13b",
        sha256="a0bfc016dfde37831dbc330b9ac8034f9e9bbc3775b97408fefbfe734c919aca",
        digest="1f373b1f75d17e1d",
    ),
    "lambdascale_trace0_replay_70b": _sent(
        "llama-2-70b",
        sha256="cd048b76991f95bbc57a2a478c9b59c8cc08f222dd3e3740a8e7105212ff3376",
        digest="01e0dab81109d28b",
    ),
    "lambdascale_burst_30min_spiky": Trace(
        sources=(BURST, BURSTGPT),
        rows="lines 415 to 594, of 10 s each",
        licence=AUTHORS_LICENCE,
        num_rows=11577,
        sha256="6d7f2b16422382b8528f6f00a11aba480321db0a77ab43740a91a5cbc1f88769",
        digest="8151a5cec03c047c",
        convert=partial(upstream.rates, 415, 594),
        lengths="drawn from those of BurstGPT, as is when requests come within 10 s; only rates are real",
        like="azure-conv-like",
        grain_s=10.0,
    ),
}
