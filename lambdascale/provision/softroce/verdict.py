"""Whether a run of the tests counts as passed, read from the file that pytest left (JUnit's XML).

The exit status alone would let a skipped test, or a file that was never collected, count as passed.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

REPORT = "rdma.xml"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out: the number of tests that ran, and what is wrong in words; nothing if they passed."""

    num_tests: int
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.num_tests} tests: {', '.join(self.wrong) or 'passed'}"


def read(report: Path, modules: Collection[str], status: int, may_skip: bool) -> Verdict:
    """Judge a report, given pytest's exit status; every one of `modules` (`test_device`) must be in it."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError) as error:
        return Verdict(0, (f"no report of the tests ({error}), status {status}",))
    cases = list(root.iter("testcase"))
    num_ran = sum(case.find("skipped") is None for case in cases)
    wrong = [_named(cases, tag, word) for tag, word in (("failure", "failed"), ("error", "broke"))]
    wrong.append("" if may_skip else _named(cases, "skipped", "skipped"))
    known = {part for case in cases for part in case.get("classname", "").split(".")}
    wrong += [f"{name} has none" for name in sorted(set(modules) - known)]
    found = tuple(filter(None, wrong if num_ran else ["none ran"]))
    return Verdict(num_ran, found or ((f"pytest ended with status {status}",) if status else ()))


def _named(cases: Sequence[ElementTree.Element], tag: str, word: str) -> str:
    hit = [case.get("name", "?") for case in cases if case.find(tag) is not None]
    return f"{len(hit)} {word} ({', '.join(hit)})" if hit else ""
