"""A pair of OpenLineage events for every run of a stage: what dvc.lock does not say about it.

They go to `lineage/<stage>/<run>.jsonl`, a file a run, to be committed with dvc.lock: no two branches ever
change the same one. Where OpenLineage's own environment variables or openlineage.yml name a server, they are
sent there too. The files say which hashes came out, and so which run made what dvc.lock names.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attr
from openlineage.client import OpenLineageClient, set_producer
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    RunFacet,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    parent_run,
    source_code_location_job,
)
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.uuid import generate_new_uuid
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vqcast.errors import VqcastError
from vqcast.work import files
from vqcast.work.hashes import md5_file, md5_listing, md5_of
from vqcast.work.surroundings import git_state, surroundings, where_networks_ran

FOLDER = Path("lineage")
RUNS_OF_SCRATCH = Path(
    ".vqcast/runs"
)  # <stage>/<key>: the runs that worked in a scratch folder, oldest first
NAMESPACE = os.environ.get("OPENLINEAGE_NAMESPACE", "vqcast")
PREFECT_RUN = "VQCAST_PREFECT_RUN"  # id of the flow run that started a stage, set by the flow
NEVER_ENDED = "it was killed, or its machine went down: it did not say how it ended"

set_producer("vqcast")


@attr.define
class VqcastRunFacet(RunFacet):
    """What the standard facets have no place for."""

    about: dict[str, object] = attr.field(factory=dict)


@contextlib.contextmanager
def recorded(stage: str) -> Iterator[None]:
    """Record the run of `stage` that goes on within, how it ends, and what it makes.

    Only runs of a stage of the current folder's dvc.yaml are recorded, each once: not by the processes that
    it starts, nor a question for help. VqcastError, before any work, where the lineage cannot be written.
    """
    helped = {"-h", "--help"} & set(sys.argv[1:])
    described = None if helped or int(os.environ.get("RANK", "0")) else _described(stage)
    if described is None:
        yield
        return
    _refuse_linked_folders(described["deps"])
    run = StageRun(stage, described)
    run.begin()
    files.scratch_opened = run.note_scratch
    try:
        yield
    except KeyboardInterrupt:
        run.end(RunState.ABORT, "interrupted")
        raise
    except SystemExit as error:
        ended = error.code not in (None, 0)
        run.end(RunState.FAIL if ended else RunState.COMPLETE, f"exit code {error.code}" if ended else None)
        raise
    except BaseException as error:
        run.end(RunState.FAIL, f"{stage}: {error or type(error).__name__}")
        raise
    else:
        run.end(RunState.COMPLETE)
    finally:
        files.scratch_opened = files.nobody_asks


class StageRun:
    """One run of a stage, told in two events."""

    def __init__(self, stage: str, described: dict):
        self.stage, self.id = stage, str(generate_new_uuid())
        self.path = FOLDER / stage / f"{self.id}.jsonl"
        self.outs = [*map(_path, described.get("outs", ())), *map(_path, described.get("metrics", ()))]
        code = [path for path in described["deps"] if path.endswith(".py")]
        read = [path for path in described["deps"] if not path.endswith(".py")]
        self.inputs = [_dataset(InputDataset, path, version) for path, version in _versions(read).items()]
        self.about: dict[str, object] = {"command": sys.orig_argv[1:]} | surroundings()
        self.about["params"] = _params(described.get("params", ()))
        self.about["code"] = md5_listing({path: md5_file(path) for path in code if Path(path).is_file()})
        self.about["git"] = git_state()
        self.began = time.monotonic()

    def begin(self) -> None:
        """Write the first event; earlier runs of this stage that were killed get their last one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for path in self.path.parent.glob("*.jsonl"):
                _close(path)
            self._emit(RunState.START)
        except (OSError, RuntimeError) as error:
            raise VqcastError(f"the lineage of this run cannot be written: {error}") from None

    def note_scratch(self, folder: Path) -> None:
        """Note what an earlier run left in `folder` for this one to go on from, and which run that was."""
        note = RUNS_OF_SCRATCH / self.stage / folder.name
        earlier = note.read_text().split() if note.is_file() else []
        found = [path for path in folder.rglob("*") if path.is_file()]
        self.about["scratch"] = folder.name
        if found:
            newest = max(found, key=lambda path: path.stat().st_mtime_ns)
            self.about["resumedFrom"] = {
                "runs": earlier,
                "files": len(found),
                "newest": newest.relative_to(folder).as_posix(),
            }
        note.parent.mkdir(parents=True, exist_ok=True)
        with files.appearing(note) as partial:
            partial.write_text("\n".join([*(earlier if found else []), self.id, ""]))

    def end(self, state: RunState, why: str | None = None) -> None:
        """Write the last event; what was made stays good where that fails, and stderr says so."""
        self.about["seconds"] = round(time.monotonic() - self.began, 3)
        self.about |= where_networks_ran()
        try:
            made = self.outs if state is RunState.COMPLETE else []
            outs = [_dataset(OutputDataset, path, md5_of(path)) for path in made if Path(path).exists()]
            self._emit(state, outs, why)
            if state is RunState.COMPLETE:
                self._forget_other_scratch()
        except (OSError, RuntimeError) as error:
            print(f"{self.stage}: the end of this run is not in the lineage: {error}", file=sys.stderr)

    def _forget_other_scratch(self) -> None:
        folder = RUNS_OF_SCRATCH / self.stage
        for note in folder.glob("*"):
            if note.name != self.about.get("scratch"):
                note.unlink()

    def _emit(self, state: RunState, outs: list[OutputDataset] | None = None, why: str | None = None) -> None:
        facets: dict[str, RunFacet] = {"vqcast": VqcastRunFacet(about=dict(self.about))}
        if why is not None:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(why, "python")
        if flow_run := os.environ.get(PREFECT_RUN):
            parent = parent_run.Job("prefect", "vqcast")
            facets["parent"] = parent_run.ParentRunFacet(parent_run.Run(flow_run), parent)
        event = RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(self.id, facets),
            job=Job(NAMESPACE, self.stage, _job_facets(self.about["git"])),
            eventType=state,
            inputs=self.inputs,
            outputs=outs or [_dataset(OutputDataset, path, None) for path in self.outs],
        )
        FileTransport(FileConfig(str(self.path), append=True)).emit(event)
        _send(event)


def _described(stage: str) -> dict | None:
    """What the current folder's dvc.yaml says of `stage`; None: it knows none of that name."""
    try:
        document = YAML(typ="safe").load(Path("dvc.yaml").read_text())
    except FileNotFoundError:
        return None
    described = document["stages"].get(stage)
    if described is not None:
        described["deps"] = [_resolved(dep) for dep in described.get("deps", ())]
    return described


def _resolved(dep: str) -> str:
    """A path of dvc.yaml with what it takes from params.yaml, as in ${download.directory.root}."""

    def value(name: re.Match) -> str:
        found = YAML(typ="safe").load(Path("params.yaml").read_text())
        for key in name[1].split("."):
            found = found[key]
        return str(found)

    return os.path.normpath(re.sub(r"\$\{([^}]+)\}", value, dep))


def _refuse_linked_folders(deps: list[str]) -> None:
    """DVC follows no link to a folder inside a dependency: what came or went behind it would go unnoticed."""
    for dep in deps:
        for place, folders, _ in os.walk(dep):
            for name in folders:
                if os.path.islink(path := os.path.join(place, name)):
                    raise VqcastError(
                        f"{path} is a link to a folder, behind which DVC sees no change; "
                        f"put the folder itself there, or make all of {dep} a link"
                    )


def _path(out: str | dict) -> str:
    """An out's path; one with options is a mapping from its path to them."""
    return out if isinstance(out, str) else next(iter(out))


def _params(sections: list[str]) -> dict[str, object]:
    """What params.yaml says now of the sections, or single keys, that a stage reads."""
    try:
        stated = YAML(typ="safe").load(Path("params.yaml").read_text()) or {}
    except (OSError, YAMLError):
        return {}  # which the stage itself will say
    found = {}
    for name in sections:
        value = stated
        for key in str(name).split("."):
            if not isinstance(value, dict) or key not in value:
                break
            value = value[key]
        else:
            found[str(name)] = value
    return found


def _versions(deps: list[str]) -> dict[str, str | None]:
    """The hash of each of `deps`: a file's as it is, a folder's as dvc.lock states it, now that the stages
    before have run. A folder that no stage made has none: it may take hours, and the table of videos pins it.
    """
    try:
        stages = YAML(typ="safe").load(Path("dvc.lock").read_text())["stages"]
        made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())}
    except (OSError, ValueError, KeyError, TypeError, YAMLError):
        made = {}  # there is none yet, or DVC is writing it for a stage beside this one
    return {path: md5_file(path) if Path(path).is_file() else made.get(path) for path in deps}


def _dataset(kind: type, path: str, version: str | None):
    facets = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(version)} if version else {}
    return kind(NAMESPACE, path, facets=facets)


def _job_facets(git: dict | None) -> dict:
    facets = {"jobType": job_type_job.JobTypeJobFacet("BATCH", "VQCAST", jobType="STAGE")}
    if git and git.get("remote"):
        remote, commit = git["remote"], git["commit"]
        with contextlib.suppress(ValueError):  # a remote that is a folder is no URL
            facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
                "git", remote, repoUrl=remote, version=commit
            )
    return facets


def _close(path: Path) -> None:
    """Give a run its last event if it has none: another run of its stage is to begin, so it is over.

    What a power cut or a full disk left of an event stays as it is, for the audit to call lost.
    """
    first, *rest = path.read_bytes().split(b"\n")
    if rest != [b""]:
        return
    try:
        event = json.loads(first)
        event |= {"eventType": "ABORT", "eventTime": datetime.now(UTC).isoformat()}
        event["run"]["facets"]["errorMessage"] = {"message": NEVER_ENDED, "programmingLanguage": "python"}
    except (ValueError, KeyError, TypeError):
        return
    with path.open("a") as file:
        file.write(json.dumps(event, sort_keys=True) + "\n")


def _send(event: RunEvent) -> None:
    """Send to the server that the environment names, if any; one that fails is told, and stops nothing."""
    configured = any(
        name.startswith("OPENLINEAGE_") for name in os.environ if name != "OPENLINEAGE_NAMESPACE"
    )
    homes = (Path.cwd(), Path.home() / ".openlineage")
    if not configured and not any((home / "openlineage.yml").is_file() for home in homes):
        return
    try:
        client = OpenLineageClient()
        if client.transport.kind != "console":
            client.emit(event)
            client.close()
    except Exception as error:  # each transport has its own
        print(f"{event.job.name}: the OpenLineage server did not take an event: {error}", file=sys.stderr)
