"""`audit verify`: everything on disk against the hash that it should have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.lineage.contents import content_faults
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.history import WORKSPACE
from vqcast.lineage.locks import Entry, Lock, flatten, parse_lock_document
from vqcast.settings.checks import SettingsError
from vqcast.settings.params import read_params
from vqcast.work.hashes import list_folder, md5_file, md5_listing


@dataclass
class Findings:
    """What is wrong, file by file, and what could not be told."""

    faults: list[dict[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, file: str, what: str) -> None:
        if (row := {"file": file, "fault": what}) not in self.faults:
            self.faults.append(row)


def audit_verify(evidence: Evidence) -> dict:
    """Every file that differs from what dvc.lock, the manifests and the models say of it.

    VqcastError where dvc.lock is missing or no dvc.lock at all.
    """
    lock = evidence.history.lock()
    text = (evidence.root / "dvc.lock").read_text()
    sizes = parse_lock_document(text, "dvc.lock")
    findings = Findings()
    hashed = _Hashed(evidence.root)
    for entry in lock.entries.values():
        for path, md5 in entry.outs.items():
            _verify_out(evidence, hashed, path, md5, findings)
        _verify_sizes(evidence.root, sizes[entry.stage], findings)
        _verify_inputs(evidence, lock, entry, hashed, findings)
    _verify_definition(evidence.root, lock, sizes, findings)
    for file, what in content_faults(evidence.root, lock, findings.notes):
        findings.fault(file, what)
    _verify_runs(evidence, lock, findings)
    return {
        "files": len(hashed.files),
        "faults": findings.faults,
        "lost": findings.lost,
        "notes": findings.notes,
    }


class _Hashed:
    """What lies on disk, each file read once."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[str, str] = {}  # hash by path
        self._known: dict[str, str | None] = {}

    def md5(self, path: str) -> str | None:
        """As dvc.lock would state it; None: there is no such file."""
        if path not in self._known:
            self._known[path] = self._hash(path)
        return self._known[path]

    def _hash(self, path: str) -> str | None:
        place = self.root / path
        if place.is_dir():
            listing = list_folder(place)
            self.files |= {f"{path}/{name}": md5 for name, md5 in listing.items()}
            return md5_listing(listing)
        if not place.is_file():
            return None
        self.files[path] = md5_file(place)
        return self.files[path]

    def listing(self, path: str) -> dict[str, str]:
        prefix = f"{path}/"
        return {name.removeprefix(prefix): md5 for name, md5 in self.files.items() if name.startswith(prefix)}


def _verify_out(evidence: Evidence, hashed: _Hashed, path: str, md5: str, findings: Findings) -> None:
    found = hashed.md5(path)
    if found == md5:
        return
    if found is None:
        findings.lost.append(f"{path} is not here (md5 {md5}); `dvc pull {path}` brings what a remote has")
        return
    expected = evidence.objects.listing(md5)
    if not expected or md5_listing(expected) != md5:
        findings.fault(path, f"differs: its hash is {found}, and dvc.lock says {md5}")
        return
    for file, change in _differences(expected, hashed.listing(path)):
        findings.fault(f"{path}/{file}", change)


def _differences(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield name, "is missing"
        elif name not in expected:
            yield name, "does not belong there"
        elif found[name] != expected[name]:
            yield name, f"differs: its hash is {found[name]}, and {expected[name]} was made"


def _verify_sizes(root: Path, stage: dict, findings: Findings) -> None:
    """dvc.lock states sizes too, beside the hashes."""
    for out in stage.get("outs", ()):
        place = root / out["path"]
        if not place.exists():
            continue
        files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        size = sum(path.stat().st_size for path in files)
        if out.get("size", size) != size:
            findings.fault("dvc.lock", f"says {out['path']} has {out['size']} bytes; it has {size}")
        if out.get("nfiles", len(files)) != len(files):
            findings.fault("dvc.lock", f"says {out['path']} has {out['nfiles']} files; it has {len(files)}")


def _verify_inputs(evidence: Evidence, lock: Lock, entry: Entry, hashed: _Hashed, findings: Findings) -> None:
    """What a stage read must be what the stage before made, or what lies there."""
    for path, md5 in entry.deps.items():
        made = lock.hash(path)
        if made is not None and made != md5:
            findings.fault("dvc.lock", f"{entry.stage} took {path} with the hash {md5}, and {made} was made")
        elif made is None and (found := hashed.md5(path)) != md5:
            if not (evidence.root / path).is_file() and evidence.history.has_just_what_is_committed(path):
                findings.lost.append(
                    f"{path}, as {entry.stage} read it (md5 {md5}), is not here, or just what git keeps of it"
                )
                continue
            what = "is missing" if found is None else f"has the hash {found}"
            findings.fault(path, f"is not what {entry.stage} ran with: it {what}, and dvc.lock says {md5}")


def _verify_definition(root: Path, lock: Lock, sizes: dict[str, dict], findings: Findings) -> None:
    """The commands, paths and parameters of dvc.lock must be those of dvc.yaml and params.yaml."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stages = {stage.name: stage for stage in repo.index.stages if stage.cmd}
            for name in lock.entries.keys() - stages.keys():
                findings.fault("dvc.lock", f"names a stage {name!r} that dvc.yaml does not")
            for name, stage in stages.items():
                if name not in lock.entries:
                    findings.notes.append(f"{name} has not run")
                    continue
                _verify_stage(stage, lock.entries[name], findings)
    except DvcException as error:
        raise VqcastError(" ".join(str(error).split())) from error
    _verify_params(root, lock, findings)


def _verify_stage(stage, entry: Entry, findings: Findings) -> None:
    from dvc.dependency.param import ParamsDependency

    if " ".join(stage.cmd.split()) != entry.cmd:
        findings.fault("dvc.lock", f"{entry.stage} ran `{entry.cmd}`, and dvc.yaml says `{stage.cmd}`")
    deps = {dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)}
    for what, listed, ran in (
        ("deps", deps, entry.deps.keys()),
        ("outs", {out.def_path for out in stage.outs}, entry.outs.keys()),
    ):
        if odd := sorted(listed ^ set(ran)):
            findings.fault("dvc.lock", f"{what} of {entry.stage} are not those of dvc.yaml: {', '.join(odd)}")


def _verify_params(root: Path, lock: Lock, findings: Findings) -> None:
    try:
        current = dict(flatten(read_params(root / "params.yaml")))
    except SettingsError as error:
        findings.fault("params.yaml", str(error).removeprefix(f"{root / 'params.yaml'}: "))
        return
    for entry in lock.entries.values():
        now = entry.read_of(current)
        for key in dict.fromkeys([*entry.params, *now]):
            if entry.params.get(key) != now.get(key):
                findings.fault(
                    "params.yaml",
                    f"{key} is {now.get(key)!r}, and dvc.lock says {entry.stage} ran with "
                    f"{entry.params.get(key)!r}",
                )


def _verify_runs(evidence: Evidence, lock: Lock, findings: Findings) -> None:
    runs = evidence.runs(WORKSPACE)
    findings.lost += runs.lost
    for entry in lock.entries.values():
        if (why := runs.unexplained(entry)) is not None:
            findings.fault("dvc.lock", why)


def tell_verify(report: dict) -> list[str]:
    """The report as a person reads it."""
    lines = [f"{row['file']}: {row['fault']}" for row in report["faults"]]
    lines += [f"LOST: {sentence}" for sentence in report["lost"]]
    lines += [f"note: {note}" for note in report["notes"]]
    count = len({row["file"] for row in report["faults"]})
    return [
        *lines,
        f"{report['files']} files read, {count} differ"
        if count
        else f"{report['files']} files read, all as they should be, as far as they are here"
        if report["lost"]
        else f"{report['files']} files read, all as they should be",
    ]
