"""Claims as text: what a notebook has just reported, all verdicts, and the figure table of the README."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from lambdascale.claims.book import Book
from lambdascale.claims.claim import FORMS, Claim
from lambdascale.claims.metric import Metric
from lambdascale.claims.verdict import MEANINGS, NOT, PARTLY, Judgement

FORM_TITLES = {
    "exact": "exact",
    "ordering": "orderings and crossovers",
    "ratio": "ratios",
    "absolute": "absolute numbers",
}
_HEAD = ("claim", "paper", "accepted", "ours", "verdict", "provenance", "from")


def reported(metrics: Iterable[Metric], book: Book) -> str:
    """Return metrics beside what is claimed of them; verdicts are not given here, but by `verdicts`."""
    rows = [row for metric in metrics for row in _reported_rows(metric, book.about(metric.name))]
    return _aligned([("metric", "paper", "accepted", "obtained", "provenance"), *rows])


def line(metric: Metric, book: Book) -> str:
    """Return one metric and what is claimed of it, as one line."""
    obtained = metric.note or _values(metric.values)
    said = [f"; paper {_paper(c)}, accepted {_accepted(c)}" for c in book.about(metric.name)]
    return f"{metric.name} = {obtained} ({metric.provenance}{''.join(said)})"


def verdicts(judgements: Sequence[Judgement]) -> str:
    """Return every claim with its verdict, by what is claimed; reasons of misses, and the words, below."""
    width = max((len(j.claim.statement) for j in judgements), default=0)
    parts = []
    for form in FORMS:
        mine = [j for j in judgements if j.claim.form == form]
        if mine:
            head = (FORM_TITLES[form].ljust(width), *_HEAD[1:])
            parts.append(_aligned([head, *map(_row, mine)]))
    return "\n\n".join([*parts, *_misses(judgements), _summary(judgements)])


def legend() -> str:
    """Return what each verdict means."""
    width = max(map(len, MEANINGS))
    return "\n".join(f"{word:<{width}}  {meaning}" for word, meaning in MEANINGS.items())


def constants(book: Book) -> str:
    """Return every constant with its source, and the claims it was fitted on."""
    head = ("constant", "value", "fitted on", "source")
    rows = [
        (c.name, f"{c.value:g} {c.unit}".strip(), ", ".join(c.fitted_on) or "–", c.source)
        for c in book.constants
    ]
    return _aligned([head, *rows])


def markdown(judgements: Sequence[Judgement]) -> str:
    """Return one row per figure: its notebook, its headline claims, and how many claims got which verdict."""
    head = ("figure", "notebook", "claim: paper → ours", "all its claims")
    figures = dict.fromkeys(j.claim.figure for j in judgements)
    rows = [_figure_row(f, [j for j in judgements if j.claim.figure == f]) for f in figures]
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Return a value as tables show it.

    >>> number(1.8276), number(0.0123), number(1251.3), number(0.0)
    ('1.83', '0.0123', '1251', '0')
    """
    return f"{value:.0f}" if value == 0 or abs(value) >= 100 else f"{value:.3g}"


def _reported_rows(metric: Metric, claims: Sequence[Claim]) -> Iterable[tuple[str, ...]]:
    obtained = metric.note or _values(metric.values)
    for claim in claims:
        yield metric.name, _paper(claim), _accepted(claim), obtained, metric.provenance
    if not claims:
        yield metric.name, "–", "reported", obtained, metric.provenance


def _accepted(claim: Claim) -> str:
    """The range, and where it counts if not in the quick profile."""
    elsewhere = "" if "quick" in claim.profiles else f" (at {', '.join(claim.profiles)})"
    return f"{claim.accepted}{elsewhere}"


def _row(judgement: Judgement) -> tuple[str, ...]:
    claim = judgement.claim
    where = " ".join(filter(None, [judgement.profile, judgement.origin])) or "–"
    verdict = judgement.verdict
    if verdict == PARTLY:
        verdict = f"{PARTLY} ({judgement.num_accepted} of {len(judgement.values)})"
    ours = _ours(judgement)
    words = _paper(claim), str(claim.accepted), ours, verdict, judgement.provenance or "–", where
    return claim.statement, *words


def _ours(judgement: Judgement) -> str:
    """The note of a single metric says more than its number."""
    if len(judgement.metrics) == 1 and judgement.metrics[0].note:
        return judgement.metrics[0].note
    return _values(judgement.values, judgement.claim.unit)


def _paper(claim: Claim) -> str:
    if claim.paper is None:
        return "–"
    return _values(claim.paper if isinstance(claim.paper, tuple) else (claim.paper,), claim.unit)


def _values(values: Sequence[float], unit: str = "") -> str:
    """One value; or the ends of two; or the median of several, and their ends."""
    if not values:
        return "–"
    low, high = number(min(values)), number(max(values))
    if low == high:
        return f"{low} {unit}".strip()
    text = f"{low} to {high}" if len(values) == 2 else f"{number(median(values))} ({low}–{high})"
    return f"{text} {unit}".strip()


def _misses(judgements: Sequence[Judgement]) -> list[str]:
    missed = [j for j in judgements if j.verdict in (PARTLY, NOT)]
    lines = [
        f"  {j.claim.id}: {j.claim.why_not or 'no reason is known yet'} (range: {j.claim.reason})"
        for j in missed
    ]
    return ["\n".join(["what is missed, and why:", *lines])] if lines else []


def _summary(judgements: Sequence[Judgement]) -> str:
    return f"{len(judgements)} claims: {_counts(judgements)}"


def _counts(judgements: Sequence[Judgement]) -> str:
    counts = Counter(j.verdict for j in judgements)
    return ", ".join(f"{counts[word]} {word}" for word in MEANINGS if counts[word])


def _figure_row(figure: str, judgements: Sequence[Judgement]) -> tuple[str, ...]:
    notebooks = dict.fromkeys(j.claim.notebook for j in judgements)
    links = ", ".join(f"`{name}`" for name in notebooks)
    headlines = [j for j in judgements if j.claim.headline] or judgements[:1]
    return figure, links, "<br>".join(map(_headline, headlines)), _counts(judgements)


def _headline(judgement: Judgement) -> str:
    """A target of ours stands where the paper's value would."""
    claim = judgement.claim
    expected = _paper(claim) if claim.paper is not None else f"target {claim.accepted}"
    return f"{claim.statement}: {expected} → **{_ours(judgement)}**"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows as text with equal columns, a line below the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([head, "-" * (sum(widths) + 2 * len(widths) - 2), *lines])
