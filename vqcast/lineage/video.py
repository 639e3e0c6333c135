"""`audit video`: the clips of one video, every model that ever saw it, and where bytes of it still lie."""

import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqcast.errors import VqcastError
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.history import WORKSPACE, Commit
from vqcast.lineage.index import Index
from vqcast.lineage.locks import CLIPS, RAW, Chains, Entry, Lock
from vqcast.lineage.runs import Run, Runs
from vqcast.work.files import sha256_file

STORE = Path("data/raw")
SHARDS = "data/clips"


def audit_video(evidence: Evidence, asked: str) -> dict:
    """What became of the video `asked`: an id of a video, a clip or YouTube, a file, or a SHA-256.

    VqcastError where no table of clips, of any commit, lists it.
    """
    with Index(evidence.root) as index:
        return _audit(evidence, index, asked)


def _audit(evidence: Evidence, index: Index, asked: str) -> dict:
    current, damaged = _current(evidence)
    by_blob = index.locks(evidence)
    locks = [current, *by_blob.values()]
    runs = evidence.runs(WORKSPACE)
    chains = Chains([*locks, *map(_as_run, runs.complete)])
    manifests = {md5 for lock in locks for entry in lock.entries.values() for md5 in _manifests(entry)}
    made = dict.fromkeys(model for lock in locks for model in lock.models.items())
    manifests |= {md5 for model in made for md5 in chains.every(*model).hashes(CLIPS)}
    lost_tables = index.add(evidence, sorted(manifests))
    raw = {lock.hash(RAW) for lock in locks} - {None}
    lost_contents = index.add_raw(evidence, sorted(raw))
    named, contents, found_by = _find(index, asked)
    clips = index.by_contents(contents)
    if found_by == "id":
        lost_tables += lost_contents  # in which it may have had another content, which a copy has as well
    lost = [*lost_tables, *damaged, *_unexplained(evidence, runs, current, locks), *evidence.lost_history()]
    videos = sorted({clip["video"] for clip in clips} | index.videos_with(contents) | named)
    left_out = _left_out(evidence, asked, videos, lost)
    if not videos and not left_out:
        hint = "".join(f"; {sentence}" for sentence in lost)
        raise VqcastError(f"no table of clips of any commit lists {asked!r}, by id or by content{hint}")
    holders = index.holders([clip["id"] for clip in clips])
    now = current.hash(CLIPS)
    models = _models(chains, current, by_blob, evidence, holders, index.manifests(), clips)
    return {
        "asked": asked,
        "found_by": found_by,
        "videos": videos or sorted(row["video"] for row in left_out),
        "copies": [video for video in videos if named and video not in named],
        "clips": [
            {name: value for name, value in clip.items() if name not in ("id", "key", "segment")}
            | {"current": clip["id"] in holders.get(now, ()), "tables": _tables(holders, clip["id"])}
            for clip in clips
        ],
        "left_out": left_out,
        **models,
        "bytes_left": _bytes_left(evidence, contents, clips, holders, locks, now),
        "lost": lost,
    }


def _current(evidence: Evidence) -> tuple[Lock, list[str]]:
    """What the folder's own dvc.lock says, and why that cannot be known."""
    if not (evidence.root / "dvc.lock").is_file():
        return Lock({}), []
    try:
        return evidence.history.lock(), []
    except VqcastError as error:
        return Lock({}), [str(error)]


def _as_run(run: Run) -> Lock:
    """What a run read and made: what its stage's entry of dvc.lock should say."""
    return Lock({run.stage: Entry(run.stage, "", run.inputs, run.outs, {})})


def _unexplained(evidence: Evidence, runs: Runs, current: Lock, locks: list[Lock]) -> list[str]:
    """Where a run contradicts a dvc.lock, and where none accounts for what the current models are."""
    here = Chains([current])
    entries = [entry for model in current.models.items() for entry in here.of(*model).stages]
    why = [*evidence.unexplained(entries, runs)]
    why += filter(None, (runs.contradiction(entry) for lock in locks for entry in lock.entries.values()))
    return list(dict.fromkeys(why))


def _manifests(entry) -> list[str]:
    return [md5 for path, md5 in (*entry.outs.items(), *entry.inputs.items()) if path == CLIPS]


def _find(index: Index, asked: str) -> tuple[set[str], set[bytes], str]:
    """The videos called so, the contents in question, and by what they were found.

    Contents are those of files that were downloaded and of clips: a copy in another container gives the same
    clips, and under another id it is the same video.
    """
    if Path(asked).is_file():
        digest = bytes.fromhex(sha256_file(asked))
        if index.by_contents([digest]) or index.videos_with([digest]):
            return set(), _with_clips(index, {digest}), "content of the file"
    if re.fullmatch(r"[0-9a-fA-F]{64}", asked):
        return set(), _with_clips(index, {bytes.fromhex(asked)}), "SHA-256"
    clips, had = index.by_name(asked), index.contents_of(asked)
    contents = {bytes.fromhex(clip["sha256"]) for clip in clips}.union(*had.values())
    contents |= {bytes.fromhex(clip["video_sha256"]) for clip in clips if clip["clip"] != asked}
    return {clip["video"] for clip in clips} | had.keys(), _with_clips(index, contents), "id"


def _with_clips(index: Index, contents: set[bytes]) -> set[bytes]:
    return contents | {bytes.fromhex(clip["sha256"]) for clip in index.by_contents(contents)}


def _tables(holders: dict[str, set[int]], clip: int) -> list[str]:
    return sorted(md5 for md5, ids in holders.items() if clip in ids)


def _left_out(evidence: Evidence, asked: str, videos: list[str], lost: list[str]) -> list[dict]:
    """What data/raw.parquet says now of those of these videos that it has no file of."""
    path = evidence.root / RAW
    if not path.is_file():
        return []
    names = [*videos, asked]
    try:
        rows = pq.ParquetFile(path).read(["video", "status", "reason"])
    except (pa.ArrowException, OSError) as error:
        lost.append(f"{RAW} cannot be read: {' '.join(str(error).split())}")
        return []
    asked_for = pc.is_in(rows["video"], value_set=pa.array(names))
    return rows.filter(pc.and_(asked_for, pc.not_equal(rows["status"], "ok"))).to_pylist()


def _models(
    chains: Chains,
    current: Lock,
    by_blob: dict[str, Lock],
    evidence: Evidence,
    holders: dict[str, set[int]],
    known: set[str],
    clips: list[dict],
) -> dict[str, list[dict]]:
    """The models that were trained on the clips, only validated on them, and of which it cannot be told."""
    train = {clip["id"] for clip in clips if clip["split"] == "train"}
    where: dict[tuple[str, str], list[Commit]] = {model: [] for model in current.models.items()}
    for commit in reversed(evidence.commits):
        lock = by_blob.get(commit.blob, Lock({}))
        # another project of the same repository may have a dvc.lock that knows no clips
        if commit.path == evidence.history.lock_path or lock.mentions(CLIPS):
            for model in lock.models.items():
                where.setdefault(model, []).append(commit)
    told: dict[str, list[dict]] = {"trained": [], "validated": [], "unknown": []}
    for (path, md5), commits in where.items():
        chain = chains.every(path, md5)
        tables = chain.hashes(CLIPS)
        seen = set().union(*(holders.get(table, ()) for table in tables))
        about = {
            "model": path,
            "md5": md5,
            "current": current.models.get(path) == md5,
            "commits": [_describe(commit, evidence) for commit in commits],
        }
        if seen:
            told["trained" if seen & train else "validated"].append(about)
        elif chain.missing or not tables or set(tables) - known:
            told["unknown"].append(about)
    return told


def _describe(commit: Commit, evidence: Evidence) -> dict:
    return {"sha": commit.sha, "when": commit.when, "subject": commit.subject} | {
        "tags": evidence.history.names.get(commit.sha, [])
    }


def _bytes_left(
    evidence: Evidence,
    contents: set[bytes],
    clips: list[dict],
    holders: dict[str, set[int]],
    locks: list[Lock],
    now: str | None,
) -> list[dict]:
    """Files that still hold the video or a clip of it, with how to be rid of them."""
    left = []
    stored = {digest.hex() for digest in contents} | {clip["video_sha256"] for clip in clips}
    for sha256 in sorted(stored):
        for path in sorted((evidence.root / STORE / sha256[:2]).glob(f"{sha256}*")):
            left.append({"path": path.relative_to(evidence.root).as_posix(), "holds": "the video"})
    shards = {md5: {clip["shard"] for clip in clips if clip["id"] in ids} for md5, ids in holders.items()}
    for shard in sorted(shards.get(now, ())):
        left.append({"path": f"{SHARDS}/{shard}", "holds": "clips of it"})
    folders = {(lock.hash(CLIPS), lock.hash(SHARDS)) for lock in locks}
    cached = set()
    for manifest, folder in folders:
        listing = evidence.objects.listing(folder) if folder and manifest in shards else None
        for shard in shards.get(manifest, ()):
            copy = evidence.objects.cached(listing[shard]) if listing and shard in listing else None
            if copy and copy.is_file():
                cached.add((copy, shard))
    for copy, shard in sorted(cached):
        left.append(
            {"path": _relative(copy, evidence.root), "holds": f"clips of it (as {shard}, in DVC's cache)"}
        )
    return left


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def tell_video_report(report: dict) -> list[str]:
    """The report as a person reads it."""
    lines = [f"{', '.join(map(repr, report['videos']))}, found by {report['found_by']}"]
    if report["copies"]:
        lines.append(f"the same content also lies under {', '.join(map(repr, report['copies']))}")
    for row in report["left_out"]:
        lines.append(f"now: {row['video']!r} is left out: {row['reason']}")
    for clip in report["clips"]:
        now = "now" if clip["current"] else "once"
        lines.append(
            f"{now}: clip {clip['clip']!r} {clip['start']:.2f}-{clip['end']:.2f} s, {clip['split']}, "
            f"{SHARDS}/{clip['shard']}, {clip['licence'] or 'no licence stated'}, {clip['url'] or 'no URL'}"
        )
    titles = (
        ("trained on it", "trained"),
        ("only validated on it", "validated"),
        ("may have seen it: what they learned from is lost", "unknown"),
    )
    none = "none known" if report["lost"] else "none"
    for title, name in titles if report["unknown"] else titles[:2]:
        current, earlier = ([m for m in report[name] if m["current"] is now] for now in (True, False))
        lines += ["", f"current models {title}:", *(_tell_models(current) or [f"    {none}"])]
        lines += [f"earlier models {title}:", *(_tell_models(earlier) or [f"    {none}"])]
    lines += ["", "bytes of it lie in:"]
    lines += [f"    {left['path']}  {left['holds']}" for left in report["bytes_left"]] or ["    none"]
    return lines + [f"LOST: {sentence}" for sentence in report["lost"]]


def _tell_models(models: Iterable[dict]) -> list[str]:
    lines = []
    for model in models:
        lines.append(f"    {model['model']}  md5 {model['md5']}")
        for commit in model["commits"] or [None]:
            if commit is None:
                lines.append("        in no commit yet")
                continue
            tags = f"  ({', '.join(commit['tags'])})" if commit["tags"] else ""
            lines.append(f"        {commit['sha'][:12]}  {commit['when'][:10]}  {commit['subject']}{tags}")
    return lines
