"""Flows that a Prefect server starts: on a schedule in this process, or through a worker of a work pool."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from zoneinfo import available_timezones

import psutil
from prefect import Flow, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import EntrypointType
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL

from vqcast.errors import VqcastError

ROOT = Path(__file__).resolve().parents[2]
ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
END_SECONDS = 8  # from SIGTERM to SIGKILL for a run, which needs about five to end its stages
POOL_TYPES = ("process", "kubernetes")


def serve(flow: Flow, name: str, cron: str, timezone: str | None, parameters: dict) -> None:
    """Run `flow` in the current folder whenever `cron` says so, until this process is ended.

    Runs of one `name` come one after the other. A schedule outlives this process: what it missed is made up
    for by the next one.
    """
    schedule = _schedule(cron, timezone)
    _require_server("serve")
    # The runs are processes of their own, which must find this code from any workspace.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    deployment = flow.to_deployment(
        name,
        schedule=schedule,
        parameters=parameters,
        concurrency_limit=ONE_AT_A_TIME,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    print(f"Serving {flow.name}/{name} in {Path.cwd()}; {cron} ({timezone or 'UTC'}).", file=sys.stderr)
    runner = _Runner(name, pause_on_shutdown=False)
    runner.add_deployment(deployment)
    asyncio.run(runner.start())


class _Runner(Runner):
    """Prefect's, but for SIGTERM: that one waits for runs in a way that lets none of them end in time."""

    def handle_sigterm(self, *args: object, **kwargs: object) -> None:
        runs = psutil.Process().children()
        for run in runs:
            run.terminate()
        _, alive = psutil.wait_procs(runs, timeout=END_SECONDS)
        for run in alive:
            run.kill()
        os._exit(128 + signal.SIGTERM)


def deploy(
    pool: str, name: str, workspace: str, cron: str | None, timezone: str | None, parameters: dict
) -> list[str]:
    """Register the deployments that prefect.yaml has for a pool of this type; their names.

    workspace: the folder they run in, where they run; `name` stands for it in the deployments' names. The
    schedule and the `parameters` are those of the retraining.
    """
    if cron:
        _schedule(cron, timezone)
    _require_server("deploy")
    with get_client(sync_client=True) as client:
        try:
            kind = client.read_work_pool(pool).type
        except ObjectNotFound:
            raise VqcastError(
                f"the Prefect server has no work pool {pool!r}; prefect work-pool create makes one"
            ) from None
    if kind not in POOL_TYPES:
        raise VqcastError(
            f"the work pool {pool!r} is of type {kind}; prefect.yaml has {', '.join(POOL_TYPES)}"
        )
    environment = {**os.environ, "VQCAST_WORKSPACE": workspace, "VQCAST_DEPLOYMENT": name}
    for flow in ("run", "retrain"):
        arguments = ["--no-prompt", "deploy", "--prefect-file", "prefect.yaml", "--name", f"{flow}-{kind}-*"]
        arguments += ["--pool", pool]
        if flow == "retrain":
            arguments += ["--params", json.dumps(parameters)]
            arguments += ["--cron", cron, "--timezone", timezone or "UTC"] if cron else []
        command = [sys.executable, "-m", "prefect", *arguments]
        finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if finished.returncode:
            raise VqcastError(f"prefect deploy failed: {' '.join(finished.stdout.split())}{finished.stderr}")
    return [f"{flow}-{kind}-{name}" for flow in ("run", "retrain")]


def _schedule(cron: str, timezone: str | None) -> CronSchedule:
    if timezone and timezone not in available_timezones():
        raise VqcastError(f"--timezone {timezone!r} is no time zone, such as Europe/Berlin")
    try:
        return CronSchedule(cron=cron, timezone=timezone or "UTC")
    except ValueError:
        raise VqcastError(
            f"--cron {cron!r} is no cron schedule, such as '0 3 * * *' for every night at three"
        ) from None


def _require_server(command: str) -> None:
    url = PREFECT_API_URL.value()
    if not url:
        raise VqcastError(
            f"{command} needs a Prefect server that stays: prefect server start, and its URL in "
            "PREFECT_API_URL, such as http://127.0.0.1:4200/api"
        )
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error:
        raise VqcastError(f"no Prefect server answers at {url}: {error}")
