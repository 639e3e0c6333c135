"""`audit model`: the chain from a model back to every source."""

from collections import Counter
from collections.abc import Callable, Iterable

from vqcast.lineage.evidence import Evidence, Model, source_of, union
from vqcast.lineage.locks import RAW
from vqcast.lineage.runs import Run, Runs


def audit_model(evidence: Evidence, path: str, revision: str, with_videos: bool) -> dict:
    """What `path` was made of, by whom and where; VqcastError where a table of its videos is lost."""
    model = evidence.model(path, revision)
    runs = evidence.runs(revision)
    videos = union([evidence.videos(md5) for md5 in model.manifests])
    kind = _kind_of_source(model)
    for video in videos:
        video["source"] = source_of(video, kind)
    report = {
        "model": model.path,
        "md5": model.md5,
        "revision": revision if revision == "workspace" else evidence.history.resolve(revision),
        "stages": [
            {
                "stage": entry.stage,
                "command": entry.cmd,
                "outs": dict(entry.outs),
                "inputs": entry.inputs,
                "parameters": dict(entry.params),
                "code": entry.code,
                "run": _summary(runs.maker(entry)),
            }
            for entry in model.chain.stages
        ],
        "lost": _lost(evidence, model, runs),
        "clips_tables": model.manifests,
        "videos": len(videos),
        "clips": sum(video["clips"] for video in videos),
        "by_split": _counts(videos, lambda video: video["split"]),
        "by_source": _counts(videos, lambda video: video["source"]),
        "by_label": _counts(videos, lambda video: video["label"] or "none"),
        "by_licence": _counts(videos, lambda video: video["licence"] or "none stated"),
    }
    if with_videos:
        report["each_video"] = videos
    return report


def _lost(evidence: Evidence, model: Model, runs: Runs) -> list[str]:
    """What of the chain is not known, and why it may be so."""
    missing = [
        f"no dvc.lock of any commit says what made {path} (md5 {md5})" for path, md5 in model.chain.missing
    ]
    lost = [*missing, *evidence.unexplained(model.chain.stages, runs), *runs.lost]
    return list(dict.fromkeys([*lost, *(evidence.lost_history() if missing else ())]))


def _kind_of_source(model: Model) -> str:
    """What params.yaml called the source of the videos."""
    kinds = [entry.params.get("download.source") for entry in model.chain.stages if RAW in entry.outs]
    return str(kinds[-1]) if kinds else "unknown"


def _summary(run: Run | None) -> dict | None:
    return run.summary() if run else None


def _counts(videos: Iterable[dict], key: Callable[[dict], str]) -> dict[str, dict[str, int]]:
    """Videos by `key`, the most frequent first, each by split."""
    by_key: dict[str, Counter] = {}
    for video in videos:
        by_key.setdefault(key(video), Counter())[video["split"]] += 1
    ordered = sorted(by_key.items(), key=lambda item: (-item[1].total(), item[0]))
    return {name: dict(sorted(splits.items())) for name, splits in ordered}


def tell_model(report: dict) -> list[str]:
    """The report as a person reads it."""
    lines = [f"{report['model']}  md5 {report['md5']}  ({_short(report['revision'])})", ""]
    for stage in report["stages"]:
        lines += _tell_stage(stage)
    lines += [f"LOST: {sentence}" for sentence in report["lost"]]
    lines += ["", f"{report['videos']} videos, {report['clips']} clips"]
    for title, name in (("split", "by_split"), ("source", "by_source"), ("label", "by_label")):
        lines += _tell_counts(title, report[name])
    lines += _tell_counts("licence", report["by_licence"])
    for video in report.get("each_video", ()):
        lines.append(tell_video(video))
    return lines


def tell_video(video: dict) -> str:
    """One video in one line: split, id, span in seconds, hash, URL."""
    span = f"{video['start']:.2f}-{video['end']:.2f} s"
    rest = [video["licence"] or "no licence stated", video["url"] or "no URL"]
    return "  ".join([video["split"], repr(video["video"]), span, f"sha256 {video['video_sha256']}", *rest])


def _tell_stage(stage: dict) -> list[str]:
    lines = [stage["stage"]]
    for path, md5 in stage["outs"].items():
        lines.append(f"    made   {path}  md5 {md5}")
    for path, md5 in stage["inputs"].items():
        lines.append(f"    from   {path}  md5 {md5}")
    lines.append(f"    with   {len(stage['parameters'])} parameters, {len(stage['code'])} modules of code")
    return [*lines, f"    run    {tell_run(stage['run'])}"]


def tell_run(run: dict | None) -> str:
    """Who, when, where, how long, and from which commit."""
    if run is None:
        return "no run is recorded that made this"
    parts = [f"{run['began'][:19]}Z by {run['user']} on {run['host']}, {run['seconds'] or 0:.0f} s"]
    if run["device"]:
        parts.append(f"{run['device']} ({run['deviceName']}), {run['processes']} x {run['threads']} threads")
    if run["commit"]:
        tree = "clean" if run["clean"] else f"with changes in {', '.join(run['changed'][:3])}"
        parts.append(f"commit {run['commit'][:12]}, {tree}")
    if run["resumed_from"]:
        earlier = ", ".join(run["resumed_from"]["runs"]) or "a run that is not known"
        parts.append(f"went on from {run['resumed_from']['newest']} of {earlier}")
    if run["prefect_run"]:
        parts.append(f"Prefect run {run['prefect_run']}")
    return "; ".join(parts)


def _tell_counts(title: str, counts: dict[str, dict[str, int]], most: int = 20) -> list[str]:
    lines = [f"by {title}:"]
    for name, splits in list(counts.items())[:most]:
        lines.append(f"    {name}: {', '.join(f'{number} {split}' for split, number in splits.items())}")
    if len(counts) > most:
        lines.append(f"    and {len(counts) - most} more; --json lists all")
    return lines


def _short(revision: str) -> str:
    return revision if revision == "workspace" else revision[:12]
