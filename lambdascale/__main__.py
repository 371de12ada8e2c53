"""`lambdascale …` and `python -m lambdascale …`: parse, call the command, say errors in one line."""

import argparse
import sys
from collections.abc import Sequence

from lambdascale import __version__
from lambdascale.cli import fetch, plan, scale, simulate
from lambdascale.errors import LambdaScaleError

COMMANDS = {"plan": plan, "scale": scale, "simulate": simulate, "fetch": fetch}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 2 after an error that the user can mend, or 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        COMMANDS[options.command].run(options)
    except LambdaScaleError as error:
        print(f"lambdascale {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lambdascale {options.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lambdascale", description=__doc__.split(":")[0])
    parser.add_argument("--version", action="version", version=f"lambdascale {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition(":")[2].partition(".")[0].strip()
        command = commands.add_parser(name, help=summary, description=f"{summary}.")
        command.add_argument("--json", action="store_true", help="print one JSON object")
        module.add_options(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
