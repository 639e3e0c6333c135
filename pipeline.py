"""The operator's door to the pipeline: `python pipeline.py COMMAND --help` says all about each command."""

import argparse
import signal
import sys
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.lineage.command import add_audit_parser
from vqcast.retraining.command import add_deploy, add_retrain, add_serve, add_time_limit

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

PREDICT_HELP = """\
Continue a video: the frames from --start on are given to the trained models, which predict the next ones,
several times. What comes out is one picture of all continuations side by side: around given frames the border
is grey, around predicted ones orange. Where the video goes on long enough, what really followed is beside
them.

Any size, rate, rotation and codec that ffmpeg reads will do; the centre square is taken, as in training. The
same video, models and seed give the same picture on the same machine.
"""

PREDICT_EPILOG = """\
environment:
  VQCAST_DEVICE   where networks run: cpu, cuda, cuda:1, ... (default: cuda where there is one, else cpu)
  VQCAST_THREADS  CPU threads (default: 1, or all cores beside a GPU)

exit codes:
  0    the picture was written
  1    it could not be; the last line says why
  2    the command line is wrong
  130  ended by Ctrl-C

examples:
  python pipeline.py predict holiday.mov --start 12.5
  python pipeline.py predict holiday.mov --samples 8 --out holiday.gif
  python pipeline.py predict holiday.mov --rev v1.0 --out frames     with the models of tag v1.0, as a folder
"""

RATE_HELP = """\
The human study of the paper (Table 1): a web page on which people compare the predictions of two systems, A
and B, side by side. Both continue the same given frames; sides and order are random and balanced. A rater
enters a code, says which is better, or that they are too close to tell, and may stop and go on at any time.

A and B are folders. One that the sample stage wrote (data/samples) is read as it is, sample 0 of each window.
For any other system, name its files by window id: <window id>.mp4 (or .webm, .mkv, .avi, .mov, .gif), or
<window id>.npy of uint8 (T, H, W, 3), each holding the predicted frames alone or the whole window. Slashes in
an id are folders. What is compared is chosen by chance among the windows that both predicted, from as many
clips as there are, and is the same whenever the same folders are compared.

Every answer is in the file of answers before the next video is shown. The command prints the codes for the
raters, and the address of the results: the three shares with 95% intervals clustered by rater, the same by
label, the agreement between raters, and all judgements as CSV.
"""

RATE_EPILOG = """\
exit codes:
  0         the answers so far were written (--csv)
  1         it could not start, or went wrong; the last line says why
  2         the command line is wrong
  130, 143  ended by Ctrl-C, by SIGTERM; the same command goes on from there

examples:
  python pipeline.py rate data/samples other/predictions
  python pipeline.py rate data/samples other/predictions --csv judgements.csv
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
    _add_predict(commands)
    _add_rate(commands)
    add_audit_parser(commands)
    add_retrain(commands)
    add_serve(commands)
    add_deploy(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser(
        "predict",
        help="continue a video",
        description=PREDICT_HELP,
        epilog=PREDICT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("video", metavar="VIDEO", help="file to continue")
    add = predict.add_argument
    add("--start", type=float, default=0.0, metavar="S", help="seconds; default: %(default)g")
    add("--samples", type=int, default=4, metavar="N", help="continuations; default: %(default)s")
    add(
        "--out",
        metavar="FILE",
        help="ending with .mp4 or .gif, or a folder of frames; default: VIDEO's name, -predicted.mp4",
    )
    add("--rev", metavar="R", help="git revision whose models predict; default: those of this checkout")
    add("--seed", type=int, metavar="N", help="default: sample.seed of params.yaml")
    add("--fps", type=int, default=8, metavar="N", help="frames/s of the picture; default: %(default)s")
    predict.set_defaults(command=_predict)


def _add_rate(commands: argparse._SubParsersAction) -> None:
    rate = commands.add_parser(
        "rate",
        help="let people compare the predictions of two systems",
        description=RATE_HELP,
        epilog=RATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rate.add_argument("a", metavar="A", help="folder of predictions")
    rate.add_argument("b", metavar="B", help="folder of predictions of the same windows")
    add = rate.add_argument
    add("--answers", default="reports/ratings.sqlite", metavar="FILE", help="default: %(default)s")
    add("--videos", type=int, default=30, metavar="N", help="compared; default: %(default)s, as in the paper")
    add("--judgements", type=int, default=13, metavar="N", help="of a video; default: %(default)s, as there")
    add("--raters", type=int, default=15, metavar="N", help="who get a code; default: %(default)s, as there")
    add("--fps", type=float, default=8.0, metavar="N", help="frames/s shown; default: %(default)g")
    add("--csv", metavar="FILE", help="write the judgements so far, print the shares, and end")
    add("--clips", default="data/clips", metavar="FOLDER", help="clip shards; default: %(default)s")
    add(
        "--manifest",
        default="data/clips.parquet",
        metavar="FILE",
        help="table of the clips, if there is one; default: %(default)s",
    )
    add("--host", default="127.0.0.1", help="address to serve at; default: %(default)s, this machine alone")
    add("--port", type=int, default=8500, metavar="N", help="0 is any that is free; default: %(default)s")
    rate.set_defaults(command=_rate)


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


def _predict(arguments: argparse.Namespace) -> int:
    from vqcast.prediction.command import Prediction, predict

    predict(Prediction(**{name: value for name, value in vars(arguments).items() if name != "command"}))
    return 0


def _rate(arguments: argparse.Namespace) -> int:
    from vqcast.rating.command import Rating, rate

    rate(Rating(**{name: value for name, value in vars(arguments).items() if name != "command"}))
    return 0


def _exit_on_signal(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
