"""The operator's door to the pipeline: `python pipeline.py COMMAND --help` says all about each command."""

import argparse
import signal
import sys
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.operator_commands import add_deploy, add_retrain, add_serve, add_time_limit

RUN_HELP = """\
Bring the pipeline up to date as a Prefect flow, which is made from dvc.yaml. Every stage is a task that
runs `dvc repro --single-item STAGE` in a process of its own; a stage that is up to date is skipped, and
stages that do not need each other run side by side. `dvc repro` does the same without Prefect, one stage
after the other, and leaves the same dvc.lock: use either, at any time.

The log of every stage is streamed to the terminal and to the Prefect server. What a stage calls a
transient failure (`meta: transient_exit_codes` in dvc.yaml) is tried again up to three times. Stages that
do not need one that failed still run. Ctrl-C and SIGTERM end every stage; a later run goes on from there.
"""

RUN_EPILOG = """\
environment:
  VQCAST_DEVICE     where networks run: cpu, cuda, cuda:1, ... (default: cuda where there is one, else cpu)
  VQCAST_PROCESSES  processes that train one network (default: the number of GPUs, or else of CPU cores)
  VQCAST_WORKERS    processes for all other work (default: the number of CPU cores)
  VQCAST_THREADS    CPU threads of a process that runs a network (default: 1, or all cores beside a GPU)
  PREFECT_API_URL   the Prefect server to report to, such as http://127.0.0.1:4200/api; without it a
                    temporary server is started, which takes 10 to 20 seconds, and stopped with the run

  None of them changes what a stage makes, except that VQCAST_DEVICE, VQCAST_PROCESSES and VQCAST_THREADS
  may move the last bits of trained weights. Parameters stand in params.yaml.

exit codes:
  0  everything asked for is up to date
  1  a stage failed, or the run could not start; the last line says why, in the stage's own words
  2  the command line is wrong
  130, 143  ended by Ctrl-C, by SIGTERM

examples:
  python pipeline.py run                      the whole pipeline
  python pipeline.py run train_vqvae          this stage and all it needs
  python pipeline.py run --force evaluate     again, even where nothing changed
"""


def main() -> int:
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_on_signal)  # so that exit handlers run: one stops the Prefect server
    try:
        return arguments.command(arguments)
    except VqcastError as error:
        print(f"pipeline.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pipeline.py: interrupted; run it again to go on from here", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline.py", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="bring the pipeline up to date as a Prefect flow",
        description=RUN_HELP,
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("stages", nargs="*", metavar="STAGE", help="run these and all they need (default: all)")
    run.add_argument("--force", action="store_true", help="run stages that are up to date, too")
    run.add_argument(
        "--pull", action="store_true", help="take what is missing from the DVC remote, if it has it"
    )
    add_time_limit(run)
    run.set_defaults(command=_run)
    add_retrain(commands)
    add_serve(commands)
    add_deploy(commands)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: they take seconds to import, which --help need not wait for.
    from vqcast.dag import read_dag
    from vqcast.orchestration import refuse_inside_stage, reproduce
    from vqcast.temporary_server import configured_or_temporary_server

    refuse_inside_stage()
    read_dag(Path.cwd(), arguments.stages)  # a wrong name is told before a server is started
    with configured_or_temporary_server():
        state = reproduce(
            arguments.stages, arguments.force, arguments.pull, arguments.time_limit, return_state=True
        )
    if state.is_completed():
        return 0
    raise VqcastError(state.message)


def _exit_on_signal(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
