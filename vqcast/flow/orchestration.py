"""The pipeline as a Prefect flow: made from dvc.yaml, a task a stage, each run by DVC in its own process."""

import os
import re
import signal
import sys
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from vqcast.errors import VqcastError
from vqcast.flow.dag import DagStage, locked_stages, order_lock, read_dag
from vqcast.flow.run_artifacts import StageProgress, show_lineage, show_metrics
from vqcast.flow.workspace import sole_use
from vqcast.work.processes import ProcessGroups
from vqcast.work.record import PREFECT_RUN

RETRY_DELAYS = (10.0, 60.0, 300.0)  # seconds before each further try after a transient failure
PROGRESS_INTERVAL = 10  # seconds between two states of a progress bar in the log


@dataclass(frozen=True)
class HowToRun:
    """What holds for every stage of a run."""

    force: Collection[str] = ()  # stages that run though they are up to date
    pull: bool = False  # take from the remote what is missing here, rather than make it again
    time_limit: float | None = None  # seconds, of one try of one stage
    retry_delays: Sequence[float] = RETRY_DELAYS


@flow(name="vqcast", validate_parameters=False)
def reproduce(
    targets: Sequence[str] = (),
    force: bool = False,
    pull: bool = False,
    time_limit: float | None = None,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> State:
    """Bring `targets` (default: every stage) of the project in the current folder up to date.

    Ends Failed, with the sentence of each stage that failed, after every stage that could run did.
    """
    root = Path.cwd()
    try:
        refuse_inside_stage()
        with sole_use(root, get_run_logger().info):
            dag = read_dag(root, targets)
            forced = [stage.name for stage in dag] if force else []
            failures = run_stages(root, dag, HowToRun(forced, pull, time_limit, retry_delays))
            show_metrics(root)
            show_lineage(root)
    except VqcastError as error:
        failures = [str(error)]
    return Failed(message="; ".join(failures)) if failures else Completed(message="everything is up to date")


def run_stages(root: Path, dag: Sequence[DagStage], how: HowToRun, suffix: str = "") -> list[str]:
    """Run the stages of `dag` in the project in `root`, each once those before it ended well, in a flow.

    Returns the sentence of each that failed. suffix: what to add to the stages' names in Prefect.
    """
    order = locked_stages(root)
    order += [stage.name for stage in dag if stage.name not in order]
    groups = ProcessGroups()
    futures: dict[str, PrefectFuture] = {}
    try:
        for stage in dag:
            futures[stage.name] = _stage_task(f"{stage.name}{suffix}").submit(
                stage,
                root,
                how,
                groups,
                wait_for=[futures[name] for name in stage.upstream if name in futures],
            )
        for future in futures.values():
            future.wait()
    except BaseException:  # Ctrl-C and SIGTERM too; the tasks' threads end when their children do
        groups.end()
        raise
    order_lock(root, order)
    return [future.state.message for future in futures.values() if future.state.is_failed()]


def refuse_inside_stage() -> None:
    """Raise VqcastError in a process that a DVC stage started: its pipeline would wait for itself."""
    stage = os.environ.get("DVC_STAGE") or os.environ.get("DVC_ROOT")
    if stage:
        raise VqcastError(f"the pipeline cannot be started from inside a DVC stage ({stage})")


def _stage_task(name: str) -> Task:
    return task(
        _run_stage,
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        retries=1,  # never made: `_run_stage` does its own. With none at all, Prefect logs an empty traceback
        retry_condition_fn=_never,
    )


def _never(task: Task, run: TaskRun, state: State) -> bool:
    return False


def _run_stage(stage: DagStage, root: Path, how: HowToRun, groups: ProcessGroups) -> State:
    """Let DVC run `stage`, or find it up to date; again after a failure that the stage calls transient."""
    logger = get_run_logger()
    progress = StageProgress(TaskRunContext.get().task.name)
    arguments = ["--wait-for-lock", "repro", "--single-item"]
    arguments += ["--force"] if stage.name in how.force else []
    arguments += ["--pull", "--allow-missing"] if how.pull else []
    for delay in (*how.retry_delays, None):
        tail = deque(maxlen=100)

        def on_line(line: str, tail: deque = tail) -> None:
            tail.append(line)
            logger.info(line)
            progress.line(line)

        try:
            code = groups.run_module(
                "dvc",
                [*arguments, stage.name],
                cwd=root,
                environment=_environment(),
                on_line=on_line,
                time_limit=how.time_limit,
            )
        except TimeoutError:
            return Failed(
                message=f"{stage.name}: took more than the time limit of {how.time_limit:g} s and was ended; "
                "run it again to go on from there"
            )
        if code == 0:
            progress.show(100)
            return Completed(message="up to date")
        sentence = _sentence(stage.name, tail, code)
        if delay is None or groups.ended.is_set() or _exit_code(tail) not in stage.transient_exit_codes:
            return Failed(message=sentence)
        logger.warning(f"{sentence}; trying again in {delay:g} s")
        groups.ended.wait(delay)


def _environment() -> dict[str, str]:
    """That of DVC and its stages: `python` is this one, output comes at once, no analytics."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "TQDM_MININTERVAL": str(PROGRESS_INTERVAL),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        PREFECT_RUN: flow_run.id or "",
    }


def _sentence(stage: str, output: Iterable[str], code: int) -> str:
    """Why `stage` failed: its own last words, else DVC's."""
    if code < 0:
        return f"{stage}: ended by {signal.Signals(-code).name}"
    for prefix in (f"{stage}: ", "ERROR: "):
        for line in reversed(list(output)):
            if line.startswith(prefix):
                return f"{stage}: {line.removeprefix(prefix)}"
    return f"{stage}: dvc ended with exit code {code}"


def _exit_code(output: Iterable[str]) -> int | None:
    """The exit code of the stage's command, which DVC tells in its output only."""
    codes = [match[1] for line in output if (match := re.search(r"exited with (\d+)$", line))]
    return int(codes[-1]) if codes else None
