"""Studies for the tests: folders of predictions, and `pipeline.py rate` as a server of its own."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from tests.conftest import ROOT

# It does something wherever it is not escaped; no slash, so that a folder can bear it.
HOSTILE = '<img src=x onerror="document.title=\'owned\'"> it\'s "quoted" {{ 7 * 7 }}'
LABELS = ("juggling", HOSTILE)


def windows(count: int) -> list[str]:
    """Window ids, of two labels in turn and each of a clip of its own."""
    return [f"{LABELS[number % 2]}/-video {number}.mp4#000@00000" for number in range(count)]


def frames(seed: int, count: int = 16, size: int = 16) -> np.ndarray:
    """Noise of one colour that changes from frame to frame: uint8 (T, H, W, 3)."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 1, 1, 3)).repeat(size, 1).repeat(size, 2).astype(np.uint8)


def save_predictions(folder: Path, ids: list[str], seed: int) -> Path:
    """Whole windows as .npy files: given frames by the id's place, the same for every seed."""
    for number, window in enumerate(ids):
        path = folder / f"{window}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate([frames(number, 4), frames(1000 * seed + number, 12)]))
    return folder


def make_project(folder: Path, videos: int = 6) -> Path:
    """A folder to rate in: params.yaml, and the systems `ours` and `theirs`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for seed, name in enumerate(("ours", "theirs"), 1):
        save_predictions(folder / name, windows(videos), seed)
    return folder


def run_rate(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`pipeline.py rate` to its end."""
    command = [sys.executable, ROOT / "pipeline.py", "rate", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


class RateServer:
    """`pipeline.py rate ours theirs`, once it serves; ended with the `with` block."""

    def __init__(self, folder: Path, *options: str, port: int = 0):
        self.folder, self.options, self.port = folder, options, port

    def __enter__(self) -> "RateServer":
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def start(self) -> None:
        command = [sys.executable, "-u", ROOT / "pipeline.py", "rate", "ours", "theirs", *self.options]
        self.log = self.folder / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 120
        while "Ctrl-C ends it" not in (text := self.log.read_text()):
            assert self.process.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.05)
        self.url = re.search(r"http://127\.0\.0\.1:\d+", text)[0]
        self.port = int(self.url.rpartition(":")[2])
        self.key = re.search(r"results\?key=(\w+)", text)[1]
        self.codes = re.findall(r"\w+", re.search(r"codes:\n((?:  .*\n)+)", text)[1])

    def kill(self, number: int = signal.SIGKILL) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(timeout=20)

    def shown(self, rater: str) -> str | None:
        """The token of the comparison that a rater is shown; None when there is no more."""
        page = httpx.get(f"{self.url}/rate", params={"rater": rater}).text
        found = re.search(r'data-token="([^"]+)"', page)
        return found and found[1]

    def answer(self, rater: str, token: str, answer: str, **headers: str) -> httpx.Response:
        sent = {"rater": rater, "token": token, "answer": answer}
        return httpx.post(f"{self.url}/answer", json=sent, headers=headers)

    def judgements(self) -> list[dict]:
        """Every judgement as the export has it."""
        answer = httpx.get(f"{self.url}/results.csv", params={"key": self.key}).raise_for_status()
        return list(csv.DictReader(answer.text.splitlines()))


def listening(port: int) -> list[str]:
    """Addresses, in hexadecimal as /proc has them, at which something listens on a port."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                found.append(local.split(":")[0])
    return found
