"""The commands of pipeline.py by which the pipeline runs unattended: retrain, serve, deploy."""

import argparse
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.flow.command import add_time_limit
from vqcast.work.command import add_command

RETRAIN_HELP = """\
Make a new model of what there is now, and put it in the place of the promoted one if it is no worse.

All is done in a clone of the workspace under .vqcast, which shares its DVC cache, its downloads and its own
videos, so that the workspace, its dvc.lock and its git repository stay as they are until a model is promoted;
after a run that failed, was killed or made no better model, nothing has changed. What is committed counts.

  1. The table of exclusions is taken from --exclude, if that is given; an empty one takes nobody back, unless
     --exclude-none says so. The stages that read the world, such
     as download, run anyway: annotation files are read again, and videos that may have come back are tried.
  2. Every stage brings its part up to date.
  3. The gate judges the promoted model (the newest tags of the models that dvc.yaml lists under artifacts, or
     the committed dvc.lock where there are none yet) on the same validation windows, and compares one figure.
  4. If the new model is promoted: dvc push, where there is a DVC remote; a commit of dvc.lock, the
     exclusions and the lineage; a tag NAME@vN.0.0 for each model, as gto writes them. The workspace follows.

The last line says whether the model was promoted, and why.
"""

RETRAIN_EPILOG = """\
exit codes:
  0  it ran to its end, whether the model was promoted or not
  1  a stage failed, or the run could not start; the last line says why
  2  the command line is wrong
  130, 143  ended by Ctrl-C, by SIGTERM; run it again to go on from there

examples:
  python pipeline.py retrain                          promote what is at most 2% worse by the Frechet distance
  python pipeline.py retrain --metric model.psnr --margin 0
  python pipeline.py retrain --sync --exclude https://example.org/exclude.csv
  dvc artifacts get . top-prior --rev v3.0.0          the third top prior that was promoted
"""

SERVE_HELP = """\
Run a flow in this workspace on a schedule, until this command is ended. It needs a Prefect server that stays
(prefect server start), named by PREFECT_API_URL; runs can also be started and cancelled there.

A workspace does one run at a time: a second run of the same deployment waits on the server, and one of
another deployment, or of `pipeline.py run`, waits in the workspace.
"""

SERVE_EPILOG = """\
examples:
  python pipeline.py serve --cron "0 3 * * *"                        retrain every night at three, UTC
  python pipeline.py serve --cron "0 3 * * 0" --timezone Europe/Berlin --exclude /mnt/legal/exclude.csv
  python pipeline.py serve --flow run --cron "*/30 * * * *"          keep the workspace itself up to date
"""

DEPLOY_HELP = """\
Register this workspace's flows, as prefect.yaml describes them, with a work pool of type process or
kubernetes, so that its workers run them: run-TYPE-NAME and retrain-TYPE-NAME. It needs a Prefect server,
named by PREFECT_API_URL. docs/operations.md goes through it, from one machine to a cluster.
"""

DEPLOY_EPILOG = """\
examples:
  prefect work-pool create --type process machines
  python pipeline.py deploy --work-pool machines --cron "0 3 * * *"
  prefect worker start --pool machines
"""


def add_retrain(commands: argparse._SubParsersAction) -> None:
    summary = "make a new model, promote it if it is no worse"
    parser = add_command(commands, "retrain", summary, RETRAIN_HELP, RETRAIN_EPILOG, _retrain)
    _add_retraining_options(parser)


def add_serve(commands: argparse._SubParsersAction) -> None:
    summary = "run a flow on a schedule"
    parser = add_command(commands, "serve", summary, SERVE_HELP, SERVE_EPILOG, _serve)
    parser.add_argument("--cron", required=True, help="when: minute, hour, day, month, weekday")
    parser.add_argument("--timezone", metavar="ZONE", help="time zone of --cron (default: UTC)")
    parser.add_argument(
        "--flow", choices=("retrain", "run"), default="retrain", help="which flow (default: retrain)"
    )
    _add_name(parser)
    _add_retraining_options(parser)


def add_deploy(commands: argparse._SubParsersAction) -> None:
    summary = "register the flows with a work pool"
    parser = add_command(commands, "deploy", summary, DEPLOY_HELP, DEPLOY_EPILOG, _deploy)
    parser.add_argument("--work-pool", required=True, metavar="POOL", help="of type process or kubernetes")
    parser.add_argument("--cron", help="when to retrain (default: only when asked to)")
    parser.add_argument("--timezone", metavar="ZONE", help="time zone of --cron (default: UTC)")
    parser.add_argument(
        "--workspace", metavar="FOLDER", help="the workspace's path where runs happen (default: as here)"
    )
    _add_name(parser)
    _add_retraining_options(parser)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        default=Path.cwd().name,
        help="what to call this workspace there (default: its folder's name)",
    )


def _add_retraining_options(parser: argparse.ArgumentParser) -> None:
    options = parser.add_argument_group("of retraining")
    options.add_argument(
        "--margin", type=float, default=0.02, help="share by which a new model may be worse (default: 0.02)"
    )
    options.add_argument(
        "--metric",
        help="figure of reports/evaluate.json to compare, such as model.psnr (default: model's Frechet)",
    )
    options.add_argument(
        "--exclude", metavar="SOURCE", help="file or URL of the table to put in the place of data/exclude.csv"
    )
    options.add_argument(
        "--exclude-none",
        action="store_true",
        help="take that table even where it excludes nobody, and the one in its place somebody",
    )
    options.add_argument(
        "--sync",
        action="store_true",
        help="start from the branch's upstream, and push there what is promoted",
    )
    add_time_limit(parser)


def _parameters(arguments: argparse.Namespace) -> dict:
    """Parameters of the flow `retrain`."""
    exclude = arguments.exclude
    if exclude and "://" not in exclude:
        exclude = str(Path(exclude).absolute())
    return {
        "margin": arguments.margin,
        "metric": arguments.metric,
        "exclude": exclude,
        "exclude_none": arguments.exclude_none,
        "sync": arguments.sync,
        "time_limit": arguments.time_limit,
    }


# The flows take seconds to import, which --help need not wait for.


def _retrain(arguments: argparse.Namespace) -> int:
    from vqcast.flow.orchestration import refuse_inside_stage
    from vqcast.flow.temporary_server import configured_or_temporary_server
    from vqcast.retraining.flow import retrain

    refuse_inside_stage()
    with configured_or_temporary_server():
        state = retrain(**_parameters(arguments), return_state=True)
    if not state.is_completed():
        raise VqcastError(state.message)
    print(f"pipeline.py: {state.message}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from vqcast.flow.orchestration import reproduce
    from vqcast.flow.serving import serve
    from vqcast.retraining.flow import retrain

    if arguments.flow == "run":
        flow, parameters = reproduce, {"time_limit": arguments.time_limit}
    else:
        flow, parameters = retrain, _parameters(arguments)
    serve(flow, arguments.name, arguments.cron, arguments.timezone, parameters)
    return 0


def _deploy(arguments: argparse.Namespace) -> int:
    from vqcast.flow.serving import deploy

    workspace = arguments.workspace or str(Path.cwd())
    names = deploy(
        arguments.work_pool,
        arguments.name,
        workspace,
        arguments.cron,
        arguments.timezone,
        _parameters(arguments),
    )
    print("\n".join(names))
    return 0
