"""`lambdascale …` and `python -m lambdascale …`: parse, call the command, say errors in one line.

A command's module is imported when it is called, and what it needs to run when it runs, so that help and
`plan` are instant.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from lambdascale import __version__
from lambdascale.errors import LambdaScaleError

COMMANDS = {
    "plan": "show who sends which block to whom and when, without running anything",
    "scale": "grow a real model from k to N nodes, here or on a cluster, while they answer prompts",
    "simulate": "run the same system in virtual time: any number of nodes, no weights needed",
    "run": "replay a trace of requests on a cluster that scales with them, or simulate it",
    "serve": "answer OpenAI's clients over HTTP, on nodes that come and go with the requests",
    "preflight": "show what the nodes of a cluster have, and what to do before a run there",
    "fetch": "put a model, packed and ready to scale, or a real trace into the cache",
}
EXAMPLES = """examples:
  lambdascale plan --nodes 8 --sources 2
  lambdascale scale --nodes 4 --sources 2 --link-gbps 1 --prompts prompts.txt
  lambdascale simulate --model llama-2-13b --nodes 12 --sources 1
  lambdascale run --nodes 4 --trace trace.csv --speedup 6
  lambdascale serve --nodes 4 --port 8000"""
BAD_INPUT, OUTPUT_CLOSED, INTERRUPTED, TERMINATED = 2, 141, 130, 143  # exit statuses


class Terminated(KeyboardInterrupt):
    """SIGTERM: clean up as after an interrupt."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}; try {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 2 after an error that the user can mend, 130 or 143 if stopped."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options, surplus = _parser(given).parse_known_args(given)
    if surplus:
        why = f"{surplus[0]} is unknown; try lambdascale {options.command} --help"
        return _complain(options, why, BAD_INPUT)
    try:
        with _terminable():
            _module(options.command).run(options)
    except LambdaScaleError as error:
        return _complain(options, str(error), BAD_INPUT)
    except Terminated:
        return _complain(options, "terminated", TERMINATED)
    except KeyboardInterrupt:
        return _complain(options, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _complain(options, "nobody reads the output any more", OUTPUT_CLOSED)
    return 0


def _complain(options: argparse.Namespace, message: str, status: int) -> int:
    print(f"lambdascale {options.command}: {message}", file=sys.stderr)
    return status


def _parser(given: Sequence[str]) -> Parser:
    parser = Parser(
        prog="lambdascale",
        description="Scale a large language model from k to N nodes, and serve meanwhile.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lambdascale {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, summary in COMMANDS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        command = commands.add_parser(name, help=summary, description=description)
        if name in given:
            command.add_argument("--json", action="store_true", help="print one JSON object")
            _module(name).add_options(command)
    return parser


def _module(command: str) -> Any:
    return import_module(f"lambdascale.cli.{command}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, where a signal can be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
