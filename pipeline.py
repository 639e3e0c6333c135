"""The operator's door to the pipeline: `python pipeline.py COMMAND --help` says all about each command."""

import argparse
import os
import signal
import sys

from vqcast.errors import VqcastError
from vqcast.flow.command import add_run
from vqcast.lineage.command import add_audit
from vqcast.prediction.command import add_predict
from vqcast.rating.command import add_rate
from vqcast.retraining.command import add_deploy, add_retrain, add_serve
from vqcast.work.git import forget_callers_repository

COMMANDS = (add_run, add_predict, add_rate, add_audit, add_retrain, add_serve, add_deploy)


def parser() -> argparse.ArgumentParser:
    """The command line, each command with its help."""
    parser = argparse.ArgumentParser(prog="pipeline.py", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


def main() -> int:
    """Run the command that the command line names; its exit code."""
    forget_callers_repository()
    arguments = parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)  # so that exit handlers run: one stops the Prefect server
    try:
        code = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read along, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except VqcastError as error:
        print(f"pipeline.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pipeline.py: interrupted; run it again to go on from here", file=sys.stderr)
        return 128 + signal.SIGINT


def _exit_on_signal(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
