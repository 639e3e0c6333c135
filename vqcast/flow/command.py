"""`pipeline.py run`: the pipeline as a Prefect flow."""

import argparse
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.work.command import add_command

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


def add_run(commands: argparse._SubParsersAction) -> None:
    """Add `run` to the parsers of pipeline.py."""
    summary = "bring the pipeline up to date as a Prefect flow"
    parser = add_command(commands, "run", summary, RUN_HELP, RUN_EPILOG, _run)
    add = parser.add_argument
    add("stages", nargs="*", metavar="STAGE", help="run these and all they need (default: all)")
    add("--force", action="store_true", help="run stages that are up to date, too")
    add("--pull", action="store_true", help="take what is missing from the DVC remote, if it has it")
    add_time_limit(parser)


def add_time_limit(parser: argparse.ArgumentParser) -> None:
    """Add the option that ends a stage which hangs."""
    parser.add_argument(
        "--time-limit", type=_seconds, metavar="SECONDS", help="end a stage that takes longer (default: none)"
    )


def _seconds(text: str) -> float:
    if float(text) <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return float(text)


def _run(arguments: argparse.Namespace) -> int:
    # Here, not above: they take seconds to import, which --help need not wait for.
    from vqcast.flow.dag import read_dag
    from vqcast.flow.orchestration import refuse_inside_stage, reproduce
    from vqcast.flow.temporary_server import configured_or_temporary_server

    refuse_inside_stage()
    read_dag(Path.cwd(), arguments.stages)  # a wrong name is told before a server is started
    with configured_or_temporary_server():
        state = reproduce(
            arguments.stages, arguments.force, arguments.pull, arguments.time_limit, return_state=True
        )
    if state.is_completed():
        return 0
    raise VqcastError(state.message)
