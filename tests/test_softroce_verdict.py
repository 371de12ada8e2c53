"""A run of the RDMA tests passes only if its report is there, complete, and without a skip."""

from pathlib import Path

import pytest

from lambdascale.provision.softroce import verdict

CASE = '<testcase classname="tests.rdma.{}" name="test_it">{}</testcase>'


def report(folder: Path, *cases: tuple[str, str]) -> Path:
    body = "".join(CASE.format(module, inner) for module, inner in cases)
    path = folder / verdict.REPORT
    path.write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    return path


def test_tests_that_all_passed_are_counted(tmp_path: Path):
    path = report(tmp_path, ("test_a", ""), ("test_b", ""))
    found = verdict.read(path, ["test_a", "test_b"], 0, may_skip=False)
    assert found == verdict.Verdict(2, ())
    assert str(found) == "2 tests: passed"


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<failure>no</failure>", "1 failed (test_it)"),
        ("<error>no</error>", "1 broke (test_it)"),
        ("<skipped>no device</skipped>", "1 skipped (test_it)"),
    ],
)
def test_a_test_that_did_not_pass_is_named(tmp_path: Path, inner: str, said: str):
    path = report(tmp_path, ("test_a", ""), ("test_a", inner))
    assert verdict.read(path, ["test_a"], 0, may_skip=False).wrong == (said,)


def test_on_a_real_device_a_test_of_the_emulated_wire_may_be_skipped(tmp_path: Path):
    path = report(tmp_path, ("test_a", ""), ("test_a", "<skipped>no wire</skipped>"))
    assert verdict.read(path, ["test_a"], 0, may_skip=True).wrong == ()


def test_if_every_test_was_skipped_nothing_passed(tmp_path: Path):
    path = report(tmp_path, ("test_a", "<skipped>no wire</skipped>"))
    assert verdict.read(path, ["test_a"], 0, may_skip=True).wrong == ("none ran",)


def test_a_file_that_was_not_collected_is_named(tmp_path: Path):
    found = verdict.read(report(tmp_path, ("test_a", "")), ["test_a", "test_b"], 0, may_skip=False)
    assert found.wrong == ("test_b has none",)


def test_a_report_without_tests_does_not_pass(tmp_path: Path):
    assert verdict.read(report(tmp_path), [], 0, may_skip=False).wrong == ("none ran",)


def test_what_pytest_said_counts_even_if_its_report_is_clean(tmp_path: Path):
    path = report(tmp_path, ("test_a", ""))
    assert verdict.read(path, ["test_a"], 3, may_skip=False).wrong == (
        "pytest ended with status 3",
    )


@pytest.mark.parametrize("content", [None, "<testsuites"])
def test_a_report_that_is_missing_or_torn_does_not_pass(tmp_path: Path, content: str | None):
    path = tmp_path / verdict.REPORT
    if content is not None:
        path.write_text(content)
    (said,) = verdict.read(path, [], 0, may_skip=False).wrong
    assert said.startswith("no report of the tests")
