"""What the commands of pipeline.py have in common: a parser that says everything a user needs."""

import argparse
from collections.abc import Callable


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    summary: str,
    description: str,
    epilog: str,
    command: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """A parser for `name` among `commands`, whose arguments `command` is called with; it gives an exit code.

    description, epilog: shown as they are laid out.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def options_of(arguments: argparse.Namespace) -> dict[str, object]:
    """What was given on the command line, by name."""
    return {name: value for name, value in vars(arguments).items() if name != "command"}
