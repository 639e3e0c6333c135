"""`audit video` over a large collection with a history: 500,000 clips, 20 commits of dvc.lock.

    python -m benchmarks.audit [CLIPS [COMMITS]]

Each commit takes 1% of the videos out and adds as many; the eleventh cuts all videos anew, so that every
clip's bytes change. A clip is a video's only one, as in Kinetics.

index_s          seconds of the first `pipeline.py audit video`, which reads every table of every commit
index_cpu_s      CPU seconds of it, which a busy machine does not stretch as much
index_mib        size of the index
index_peak_mib   peak memory of the process that makes it
video_s          median seconds of `pipeline.py audit video` once indexed, the whole command
file_s           the same for a file, which is found by its content
extend_s         seconds of the next one after a commit more
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from dvc.utils.serialize import dumps_yaml

from benchmarks.measure import peak_memory
from benchmarks.stages import ROOT
from vqcast.lineage.index import PLACE
from vqcast.sources.manifest import CLIPS
from vqcast.work.hashes import md5_file

REPEATS = 5
VAL = 20  # one video in so many is for validation
PERSON = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org")
ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))


def youtube_ids(count: int) -> list[str]:
    """As Kinetics' ids: 11 characters and the seconds."""
    random = np.random.default_rng(0)
    letters = ALPHABET[random.integers(len(ALPHABET), size=(count, 11))]
    starts = random.integers(300, size=count)
    pairs = zip(letters, starts, strict=True)
    return [f"{''.join(row)}_{start:06d}_{start + 10:06d}" for row, start in pairs]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def table(videos: list[str], cut: int) -> pa.Table:
    """data/clips.parquet of these videos; `cut` says which parameters they were cut with."""
    count = len(videos)
    numbers = np.arange(count)
    columns = {
        "clip": [f"{video}#000" for video in videos],
        "video": videos,
        "label": [f"label {sha256(video)[:2]}" for video in videos],
        "split": ["val" if int(sha256(video)[:8], 16) % VAL == 0 else "train" for video in videos],
        "start": np.zeros(count),
        "end": np.full(count, 10.0),
        "frames": np.full(count, 250, np.int32),
        "fps": np.full(count, 25.0),
        "width": np.full(count, 340, np.int32),
        "height": np.full(count, 256, np.int32),
        "shard": [f"train-{sha256(video)[:3]}.arrow" for video in videos],
        "row": (numbers % 256).astype(np.int32),
        "bytes": np.full(count, 100_000),
        "sha256": [sha256(f"{video} {cut}") for video in videos],
        "licence": [None] * count,
        "attribution": [None] * count,
        "url": [f"https://www.youtube.com/watch?v={video[:11]}" for video in videos],
        "video_sha256": [sha256(video) for video in videos],
        "status": ["ok"] * count,
        "reason": [None] * count,
        "note": [None] * count,
    }
    return pa.table(columns, schema=CLIPS)


def commit(project: Path, number: int, manifest: pa.Table) -> None:
    """Put a table of clips in its place and into the cache, and name it in a committed dvc.lock."""
    place = project / "data/clips.parquet"
    place.unlink(missing_ok=True)
    pq.write_table(manifest, place)
    md5 = md5_file(place)
    cached = project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    os.link(place, cached)

    def entry(stage: str, deps: dict[str, str], outs: dict[str, str]) -> dict:
        code = {
            str(path.relative_to(ROOT)): md5_file(path) for path in sorted((ROOT / "vqcast").glob("*.py"))
        }
        state = [{"path": path, "hash": "md5", "md5": md5, "size": 1} for path, md5 in (deps | code).items()]
        made = [{"path": path, "hash": "md5", "md5": md5, "size": 1} for path, md5 in outs.items()]
        return {"cmd": f"python -m stages.{stage}", "deps": state, "outs": made}

    clips = {"data/clips": f"{number:032x}.dir", "data/clips.parquet": md5}
    made = {name: f"{hashlib.md5(f'{name} {number}'.encode()).hexdigest()}.dir" for name in "vltb"}
    vqvae, latents = {"models/vqvae": made["v"]}, {"data/latents": made["l"]}
    stages = {
        "clip": entry("clip", {"data/raw.parquet": f"{number:032x}"}, clips),
        "train_vqvae": entry("train_vqvae", clips, vqvae),
        "encode": entry("encode", clips | vqvae, latents),
        "train_top_prior": entry("train_top_prior", latents, {"models/top_prior": made["t"]}),
        "train_bottom_prior": entry("train_bottom_prior", latents, {"models/bottom_prior": made["b"]}),
    }
    (project / "dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": stages}))  # as DVC would
    subprocess.run(["git", *PERSON, "add", "dvc.lock"], cwd=project, check=True)
    subprocess.run(["git", *PERSON, "commit", "--quiet", "-m", f"run {number}"], cwd=project, check=True)


def ask(project: Path, what: str) -> tuple[float, dict, int]:
    """Seconds of the whole command, its answer, and its peak memory in bytes."""
    command = [sys.executable, str(ROOT / "pipeline.py"), "audit", "video", "--json", "--", what]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, cwd=project, stdout=said) as process:
        peak = peak_memory(process)
        seconds = time.perf_counter() - began
        if process.wait():
            sys.exit(process.returncode)
        said.seek(0)
        return seconds, json.load(said), peak


def measure(project: Path, clips: int, commits: int) -> dict[str, object]:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    (project / "data").mkdir()
    change = clips // 100
    videos = youtube_ids(clips + commits * change)
    whole = [table(videos, cut) for cut in (0, 1)]
    for number in range(commits):
        commit(project, number, whole[number >= commits // 2].slice(number * change, clips))
    asked = videos[change * (commits // 2)]  # it leaves after commit `commits // 2`

    cpu_before = os.times()
    index_s, answer, peak = ask(project, asked)
    cpu = os.times()
    held = sum(len(model["commits"]) for model in answer["trained"] + answer["validated"])
    if held != 3 * (commits // 2 + 1):
        raise SystemExit(f"{asked} was in {commits // 2 + 1} commits, and the audit tells {held} models")
    video_s = statistics.median(ask(project, asked)[0] for _ in range(REPEATS))
    file = project / "renamed.mp4"
    file.write_bytes(asked.encode())  # the content whose hash the table states
    file_s = statistics.median(ask(project, str(file))[0] for _ in range(REPEATS))
    commit(project, commits, whole[1].slice(commits * change, clips))
    extend_s, *_ = ask(project, asked)
    return {
        "clips": clips,
        "commits": commits,
        "index_s": round(index_s, 1),
        "index_cpu_s": round(sum(cpu[2:4]) - sum(cpu_before[2:4]), 1),
        "index_mib": round((project / PLACE).stat().st_size / 2**20),
        "index_peak_mib": round(peak / 2**20),
        "video_s": round(video_s, 2),
        "file_s": round(file_s, 2),
        "extend_s": round(extend_s, 1),
    }


def main() -> None:
    clips, commits = (*map(int, sys.argv[1:]), *(500_000, 20)[len(sys.argv) - 1 :])
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), clips, commits)))


if __name__ == "__main__":
    main()
