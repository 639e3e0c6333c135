"""The pipeline as a Prefect flow: made from dvc.yaml, a task a stage, each run by DVC in its own process."""

import os
import re
import signal
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from vqcast.dag import DagStage, locked_stages, order_lock, read_dag
from vqcast.errors import VqcastError
from vqcast.lineage.record import PREFECT_RUN
from vqcast.processes import ProcessGroups

RETRY_DELAYS = (10.0, 60.0, 300.0)  # seconds before each further try after a transient failure
PROGRESS_INTERVAL = 10  # seconds between two states of a progress bar in the log


@flow(name="vqcast", validate_parameters=False)
def reproduce(
    targets: Sequence[str] = (), force: bool = False, retry_delays: Sequence[float] = RETRY_DELAYS
) -> State:
    """Bring `targets` (default: every stage) of the project in the current folder up to date.

    Ends Failed, with the sentence of each stage that failed, after every stage that could run did.
    """
    root = Path.cwd()
    refuse_inside_stage()
    dag = read_dag(root, targets)
    order = locked_stages(root)
    order += [stage.name for stage in dag if stage.name not in order]
    groups = ProcessGroups()
    futures: dict[str, PrefectFuture] = {}
    try:
        for stage in dag:
            futures[stage.name] = _stage_task(stage).submit(
                stage, root, force, retry_delays, groups, wait_for=[futures[name] for name in stage.upstream]
            )
        for future in futures.values():
            future.wait()
    except BaseException:  # Ctrl-C and SIGTERM too; the tasks' threads end when their children do
        groups.end()
        raise
    order_lock(root, order)
    failures = [future.state.message for future in futures.values() if future.state.is_failed()]
    return Failed(message="; ".join(failures)) if failures else Completed(message="everything is up to date")


def refuse_inside_stage() -> None:
    """Raise VqcastError in a process that a DVC stage started: its pipeline would wait for itself."""
    stage = os.environ.get("DVC_STAGE") or os.environ.get("DVC_ROOT")
    if stage:
        raise VqcastError(f"the pipeline cannot be started from inside a DVC stage ({stage})")


def _stage_task(stage: DagStage) -> Task:
    return task(
        _run_stage,
        name=stage.name,
        task_run_name=stage.name,
        cache_policy=NO_CACHE,
        retries=1,  # never made: `_run_stage` does its own. With none at all, Prefect logs an empty traceback
        retry_condition_fn=_never,
    )


def _never(task: Task, run: TaskRun, state: State) -> bool:
    return False


def _run_stage(
    stage: DagStage, root: Path, force: bool, retry_delays: Sequence[float], groups: ProcessGroups
) -> State:
    """Let DVC run `stage`, or find it up to date; again after a failure that the stage calls transient."""
    logger = get_run_logger()
    arguments = ["--wait-for-lock", "repro", "--single-item", *(["--force"] if force else []), stage.name]
    for delay in (*retry_delays, None):
        tail = deque(maxlen=100)

        def on_line(line: str, tail: deque = tail) -> None:
            tail.append(line)
            logger.info(line)

        code = groups.run_module("dvc", arguments, cwd=root, environment=_environment(), on_line=on_line)
        if code == 0:
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
