"""`audit prove`: a model's chain run again from its commit in a clean clone, and its bytes compared."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.lineage.evidence import Evidence, Model
from vqcast.lineage.locks import Entry, flatten
from vqcast.lineage.named_files import files_in_params
from vqcast.lineage.runs import Run
from vqcast.settings.params import read_params
from vqcast.work.files import link_or_copy
from vqcast.work.git import OF_THE_CALLER, run_git
from vqcast.work.hashes import list_folder, md5_of
from vqcast.work.processes import ProcessGroups
from vqcast.work.surroundings import surroundings

PLACE = Path(".vqcast/prove")
STORE = Path("data/raw")
UNSET = ("PYTHONPATH", "RAY_ADDRESS", "VQCAST_PREFECT_RUN", "RANK", "WORLD_SIZE", "LOCAL_RANK")
MAY_MOVE_BITS = ("VQCAST_DEVICE", "VQCAST_PROCESSES", "VQCAST_THREADS")


class Unproved(Exception):
    """A stage does not give what dvc.lock says; names the stage and why."""

    def __init__(self, stage: str, why: str):
        super().__init__(f"{stage}: {why}")
        self.stage, self.why = stage, why


def audit_prove(evidence: Evidence, path: str, revision: str, keep: bool, say: Callable[[str], None]) -> dict:
    """Whether the chain of `path`, run again from `revision`, gives the very bytes that dvc.lock names.

    Stops at the first stage that does not. keep: leave the clone there. VqcastError where there is nothing
    to start from.
    """
    commit = evidence.history.resolve(revision)
    model = evidence.model(path, commit)
    runs = evidence.runs(commit)
    _refuse_stale(model)
    report: dict = {"model": model.path, "md5": model.md5, "revision": commit, "stages": []}
    report["notes"] = list(runs.lost)
    with _clone(evidence, model, commit, keep, report["notes"]) as clone:
        try:
            for entry in model.chain.stages:
                _check_definition(entry, clone, commit)
            for entry in model.chain.stages:
                run = runs.maker(entry)
                report["notes"] += _unlike(entry.stage, run)
                began = time.monotonic()
                _rerun(entry, clone, _environment(run), say)
                _compare(evidence, entry, clone)
                seconds = round(time.monotonic() - began, 1)
                report["stages"].append({"stage": entry.stage, "outs": dict(entry.outs), "seconds": seconds})
            report["proved"] = True
        except Unproved as error:
            report |= {"proved": False, "stage": error.stage, "why": error.why}
        if keep:
            report["clone"] = str(clone)
    return report


def _refuse_stale(model: Model) -> None:
    """A model that its commit's other stages have left behind has another commit to be proved from."""
    for path, md5 in model.chain.missing:
        raise VqcastError(f"no dvc.lock of any commit says what made {path} (md5 {md5})")
    for entry in model.chain.stages:
        if model.lock.entries.get(entry.stage) != entry:
            raise VqcastError(
                f"{model.path} was made before {entry.stage} last ran in {model.revision[:12]}; "
                "prove it from the commit that it was made for"
            )


@contextlib.contextmanager
def _clone(evidence: Evidence, model: Model, commit: str, keep: bool, notes: list[str]) -> Iterator[Path]:
    """The project in a clean clone of `commit`, with an empty cache and all sources that git ignores."""
    (evidence.root / PLACE).mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{commit[:12]}-", dir=evidence.root / PLACE)).resolve()
    sources = _sources(model)
    up = max((len([p for p in Path(path).parts if p == ".."]) for path in sources), default=0)
    top = work.joinpath(*["outside"] * up, "clone")  # so that ../videos is a place of its own here too
    try:
        repository = evidence.history.top
        _git("clone", "--quiet", "--no-checkout", "--shared", str(repository), str(top))
        _git("-C", str(top), "checkout", "--quiet", "--detach", commit)
        clone = top / evidence.history.prefix
        (clone / ".dvc/config.local").write_text("[cache]\n    dir = cache\n")
        for path, (stage, md5) in sources.items():
            _bring(evidence.root, clone, path, stage, md5)
        for path in files_in_params(clone):
            if (evidence.root / path).is_file() and not (clone / path).exists():
                (clone / path).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(evidence.root / path, clone / path)
        if _downloaded(model) and (evidence.root / STORE).is_dir():
            shutil.copytree(
                evidence.root / STORE, clone / STORE, copy_function=link_or_copy, dirs_exist_ok=True
            )
            notes.append(f"videos were taken from {STORE} by their hashes, not downloaded again")
        yield clone
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def _sources(model: Model) -> dict[str, tuple[str, str]]:
    """Stage and hash of everything that the chain reads and no stage makes."""
    made = {path for entry in model.chain.stages for path in entry.outs}
    return {
        path: (entry.stage, md5)
        for entry in model.chain.stages
        for path, md5 in entry.inputs.items()
        if path not in made
    }


def _bring(root: Path, clone: Path, path: str, stage: str, md5: str) -> None:
    """Bring a source that git does not keep, such as one's own videos, into the clone."""
    place = Path(os.path.normpath(clone / path))
    if place.exists() and md5_of(place) == md5:
        return
    source = root / path
    if not source.exists() or md5_of(source) != md5:
        there = "differs from" if source.exists() else "is missing, and was"
        raise VqcastError(f"{path} {there} what {stage} read (md5 {md5}): there is nothing to prove from")
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, place, copy_function=link_or_copy)
    else:
        link_or_copy(source, place)


def _downloaded(model: Model) -> bool:
    return any(str(e.params.get("download.source", "")).startswith("kinetics") for e in model.chain.stages)


def _check_definition(entry: Entry, clone: Path, commit: str) -> None:
    """Parameters and code of the commit must be those that dvc.lock says the stage ran with."""
    read = entry.read_of(dict(flatten(read_params(clone / "params.yaml"))))
    for key in dict.fromkeys([*entry.params, *read]):
        if entry.params.get(key) != read.get(key):
            raise Unproved(
                entry.stage,
                f"params.yaml of {commit[:12]} says {key} is {read.get(key)!r}, and dvc.lock that it "
                f"ran with {entry.params.get(key)!r}",
            )
    for path, md5 in entry.code.items():
        if not (clone / path).is_file() or md5_of(clone / path) != md5:
            raise Unproved(entry.stage, f"{path} of {commit[:12]} is not the code that dvc.lock says it ran")


def _environment(run: Run | None) -> dict[str, str]:
    """That of the clone's stages: nothing of this checkout, and device, processes and threads as recorded."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in (*UNSET, *OF_THE_CALLER) and not name.startswith(("DVC_", "OPENLINEAGE_"))
    }
    if "DVC_SITE_CACHE_DIR" in os.environ:
        kept["DVC_SITE_CACHE_DIR"] = os.environ["DVC_SITE_CACHE_DIR"]
    about = run.about if run else {}
    recorded = {name: about.get(name.removeprefix("VQCAST_").lower()) for name in MAY_MOVE_BITS}
    return {
        **kept,
        **{name: str(value) for name, value in recorded.items() if value is not None},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "OPENLINEAGE_DISABLED": "true",
    }


def _unlike(stage: str, run: Run | None) -> list[str]:
    """Why bytes of `stage` may differ here though nothing is wrong."""
    if run is None:
        return [f"{stage}: no run is recorded; its device, processes and threads are taken from here"]
    here = surroundings()
    notes = []
    if "device" in run.about and run.about["cpu"] != here["cpu"]:
        notes.append(f"{stage}: it ran on another kind of CPU ({run.about['cpu']}; here {here['cpu']})")
    theirs = run.about["libraries"]
    if changed := sorted(name for name, version in here["libraries"].items() if theirs.get(name) != version):
        notes.append(f"{stage}: it ran with other versions of {', '.join(changed)}")
    return notes


def _rerun(entry: Entry, clone: Path, environment: dict[str, str], say: Callable[[str], None]) -> None:
    groups, tail = ProcessGroups(), deque(maxlen=50)

    def on_line(line: str) -> None:
        tail.append(line)
        say(line)

    arguments = ["--wait-for-lock", "repro", "--single-item", "--force", entry.stage]
    try:
        code = groups.run_module("dvc", arguments, cwd=clone, environment=environment, on_line=on_line)
    except BaseException:
        groups.end()
        raise
    if code:
        own = [line for line in tail if line.startswith((f"{entry.stage}: ", "ERROR: "))]
        raise Unproved(entry.stage, f"it failed: {own[0] if own else f'dvc ended with exit code {code}'}")


def _compare(evidence: Evidence, entry: Entry, clone: Path) -> None:
    for path, md5 in entry.outs.items():
        found = md5_of(clone / path)
        if found == md5:
            continue
        differing = ""
        if (clone / path).is_dir() and (expected := evidence.objects.listing(md5)):
            listing = list_folder(clone / path)
            names = sorted(n for n in expected.keys() | listing.keys() if expected.get(n) != listing.get(n))
            differing = f" in {', '.join(names[:5])}" + (" and more" if len(names) > 5 else "")
        raise Unproved(entry.stage, f"{path} differs{differing}: md5 {found}, and dvc.lock says {md5}")


def _git(*arguments: str) -> None:
    finished = run_git(*arguments)
    if finished.returncode:
        said = finished.stderr.decode(errors="replace").strip().splitlines()
        raise VqcastError(f"git {arguments[0]}: {said[-1] if said else 'it failed'}")


def tell_prove(report: dict) -> list[str]:
    """The report as a person reads it."""
    lines = [f"{stage['stage']}: the same bytes ({stage['seconds']:.0f} s)" for stage in report["stages"]]
    lines += [f"note: {note}" for note in dict.fromkeys(report["notes"])]
    if "clone" in report:
        lines.append(f"the clone is in {report['clone']}")
    if report["proved"]:
        commit = report["revision"][:12]
        return [*lines, f"PROVED: {report['model']} (md5 {report['md5']}) is what commit {commit} makes"]
    return [*lines, f"NOT PROVED: {report['stage']}: {report['why']}"]
