"""`audit diff`: what changed between the models of two revisions."""

import json
from collections.abc import Mapping

from vqcast.errors import VqcastError
from vqcast.lineage.evidence import Evidence, union
from vqcast.lineage.history import WORKSPACE
from vqcast.lineage.locks import CLIPS, METRICS, Lock, flatten
from vqcast.lineage.model import tell_video

LISTED = 20  # of the videos that came or went; --json lists all


def audit_diff(evidence: Evidence, before: str, after: str) -> dict:
    """What changed from revision `before` to `after`: models, videos, parameters, code, metrics."""
    revisions = (before, after)
    locks = [evidence.history.lock(revision) for revision in revisions]
    lost: list[str] = []
    return {
        "revisions": [name if name == WORKSPACE else evidence.history.resolve(name) for name in revisions],
        "models": _changes(*(lock.models for lock in locks)),
        "videos": _videos(evidence, locks, lost),
        "stages": {
            name: changed
            for name in dict.fromkeys([*locks[0].entries, *locks[1].entries])
            if (changed := _stage(*locks, name))
        },
        "metrics": _changes(*(_metrics(evidence, lock, lost) for lock in locks)),
        "lost": lost,
    }


def _changes(before: Mapping, after: Mapping) -> dict[str, list]:
    """Value before and after of every key whose value differs; None where it is not there."""
    keys = dict.fromkeys([*before, *after])
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}


def _stage(before: Lock, after: Lock, name: str) -> dict:
    """What changed of one stage; empty if nothing did."""
    pair = [lock.entries.get(name) for lock in (before, after)]
    if None in pair:
        return {"stage": "only in the second" if pair[0] is None else "only in the first"}
    changed = {
        "command": _changes(*({"cmd": entry.cmd} for entry in pair)),
        "parameters": _changes(*(entry.params for entry in pair)),
        "code": _changes(*(entry.code for entry in pair)),
        "inputs": _changes(*(entry.inputs for entry in pair)),
        "outs": _changes(*(entry.outs for entry in pair)),
    }
    return {what: values for what, values in changed.items() if values}


def _videos(evidence: Evidence, locks: list[Lock], lost: list[str]) -> dict:
    """The videos that each side's models learned from or were validated on, and what came of them."""
    tables = [_tables(evidence, lock, lost) for lock in locks]
    lost += evidence.lost_history() if lost else []
    if tables[0] == tables[1]:
        return {"in": [], "out": [], "changed": []}
    try:
        sides = [{v["video"]: v for v in union([evidence.videos(md5) for md5 in some])} for some in tables]
    except VqcastError as error:
        lost.append(str(error))
        return {"in": None, "out": None, "changed": None}
    before, after = sides
    facts = ("video_sha256", "split", "label", "licence", "url", "start", "end", "clips")
    changed = [
        {"video": name, **_changes(*({fact: side[name][fact] for fact in facts} for side in sides))}
        for name in before.keys() & after.keys()
    ]
    return {
        "in": [after[name] for name in sorted(after.keys() - before.keys())],
        "out": [before[name] for name in sorted(before.keys() - after.keys())],
        "changed": sorted((row for row in changed if len(row) > 1), key=lambda row: row["video"]),
    }


def _tables(evidence: Evidence, lock: Lock, lost: list[str]) -> list[str]:
    """Hashes of the tables of clips behind a lock's models; `lost` gets what nothing says the making of."""
    chains = [evidence.chain(lock, *model) for model in lock.models.items()]
    for path, md5 in dict.fromkeys(made for chain in chains for made in chain.missing):
        lost.append(f"no dvc.lock of any commit says what made {path} (md5 {md5})")
    return sorted({md5 for chain in chains for md5 in chain.hashes(CLIPS)})


def _metrics(evidence: Evidence, lock: Lock, lost: list[str]) -> dict[str, object]:
    md5 = lock.hash(METRICS)
    if md5 is None:
        return {}
    try:
        return dict(flatten(json.loads(evidence.objects.file(METRICS, md5).read_text())))
    except VqcastError as error:
        lost.append(str(error))
        return {}


def tell_diff(report: dict) -> list[str]:
    """The report as a person reads it."""
    lines = [" -> ".join(_short(revision) for revision in report["revisions"]), ""]
    lines += [f"{path}: md5 {_value(old)} -> {_value(new)}" for path, (old, new) in report["models"].items()]
    lines += [] if report["models"] else ["the models are the same"]
    for title, name in (("in", "in"), ("out", "out")):
        videos = report["videos"][name]
        if videos:
            lines += ["", f"{len(videos)} videos {title}:"]
            lines += [f"    {tell_video(video)}" for video in videos[:LISTED]]
            lines += [f"    and {len(videos) - LISTED} more; --json lists all"] * (len(videos) > LISTED)
    if changed := report["videos"]["changed"]:
        lines += ["", f"{len(changed)} videos changed:"]
        for row in changed[:LISTED]:
            facts = (f"{k} {_value(v[0])} -> {_value(v[1])}" for k, v in row.items() if k != "video")
            lines.append(f"    {row['video']!r}: {', '.join(facts)}")
    for name, stage in report["stages"].items():
        lines += ["", f"{name}:"]
        if "stage" in stage:
            lines.append(f"    {stage['stage']}")
            continue
        for what in ("command", "parameters"):
            for key, (old, new) in stage.get(what, {}).items():
                lines.append(f"    {key}: {_value(old)} -> {_value(new)}")
        for path in stage.get("code", {}):
            lines.append(f"    code: {path}")
        for path in stage.get("inputs", {}):
            lines.append(f"    from: {path}")
    if report["metrics"]:
        lines += ["", "metrics:"]
        lines += [
            f"    {key}: {_value(old)} -> {_value(new)}" for key, (old, new) in report["metrics"].items()
        ]
    return lines + [f"LOST: {sentence}" for sentence in report["lost"]]


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _short(revision: str) -> str:
    return revision if revision == WORKSPACE else revision[:12]
