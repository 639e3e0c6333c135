"""Runs of stages, read back from the events that they left."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from vqcast.errors import VqcastError
from vqcast.lineage.history import History
from vqcast.lineage.locks import Entry, flatten
from vqcast.work.hashes import md5_listing

FOLDER = "lineage"
OUTCOMES = {"COMPLETE": "complete", "FAIL": "failed", "ABORT": "aborted", "START": "running or killed"}


@dataclass(frozen=True)
class Run:
    """One run of a stage."""

    id: str
    stage: str
    began: str  # ISO 8601
    ended: str | None
    outcome: str
    why: str | None  # it did not complete
    inputs: dict[str, str]  # hash by path of what it read, as far as it was noted
    outs: dict[str, str]  # hash by path of what it made
    about: dict  # see vqcast/work/record.py
    prefect: str | None  # the flow run that it was a part of

    @property
    def commit(self) -> str | None:
        """What was checked out when it began."""
        return (self.about.get("git") or {}).get("commit")

    def unlike(self, entry: Entry) -> list[str]:
        """What it read, or ran with, other than `entry` of dvc.lock says; what was not noted is left open."""
        other = [
            f"read {path} with the hash {self.inputs[path]}, and dvc.lock says {md5}"
            for path, md5 in entry.inputs.items()
            if self.inputs.get(path, md5) != md5
        ]
        if not entry.cmd:  # the index keeps what was read and made alone
            return other
        params = dict(flatten(self.about.get("params") or {}))
        other += [
            f"ran with {key} {params.get(key)!r}, and dvc.lock says {entry.params.get(key)!r}"
            for key in dict.fromkeys([*params, *entry.params])
            if params and repr(params.get(key)) != repr(entry.params.get(key))
        ]
        if self.about.get("code", md5_listing(entry.code)) != md5_listing(entry.code):
            other.append("ran other code than dvc.lock says")
        ran, said = self.about.get("command"), shlex.split(entry.cmd)
        if ran and _after_module(ran, self.stage) != _after_module(said, self.stage):
            other.append(f"ran as `{shlex.join(ran)}`, and dvc.lock says `{entry.cmd}`")
        return other

    def summary(self) -> dict:
        """What a person asks first."""
        git = self.about.get("git") or {}
        shown = ("user", "host", "cpu", "seconds", "device", "deviceName", "processes", "threads", "workers")
        return {
            "id": self.id,
            "outcome": self.outcome,
            "why": self.why,
            "began": self.began,
            "ended": self.ended,
            **{name: self.about.get(name) for name in shown},
            "python": self.about.get("python"),
            "libraries": self.about.get("libraries"),
            "commit": git.get("commit"),
            "clean": git.get("clean"),
            "changed": git.get("changed"),
            "person": git.get("person"),
            "resumed_from": self.about.get("resumedFrom"),
            "prefect_run": self.prefect,
        }


class Runs:
    """All runs that some revisions' lineage folders tell of, newest first.

    lost: the files that are no lineage of a run, such as what a power cut left of one; a sentence each.
    """

    def __init__(self, history: History, revisions: Iterable[str]):
        told: dict[str, Run] = {}
        damaged: dict[str, str] = {}  # why, by path
        whole = set()
        for revision in revisions:
            for path, content in history.files(revision, FOLDER):
                if path.endswith(".jsonl"):
                    try:
                        run = _read(path, content)
                        told.setdefault(run.id, run)
                        whole.add(path)
                    except VqcastError as error:
                        damaged[path] = str(error)
        self.lost = [why for path, why in damaged.items() if path not in whole]
        self.all = sorted(told.values(), key=lambda run: run.began, reverse=True)

        self._by_out: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.complete:
            for out in run.outs.items():
                self._by_out.setdefault((run.stage, *out), []).append(run)

    @property
    def complete(self) -> list[Run]:
        return [run for run in self.all if run.outcome == "complete"]

    def maker(self, entry: Entry) -> Run | None:
        """The newest run that made what `entry` of dvc.lock says, from what it says and as it says."""
        return next((run for run in self._made(entry) if not run.unlike(entry)), None)

    def contradiction(self, entry: Entry) -> str | None:
        """In which way the run that made what `entry` says did not as `entry` says; None: one did."""
        others = [(run, run.unlike(entry)) for run in self._made(entry)]
        if not others or not all(unlike for _, unlike in others):
            return None
        run, unlike = others[0]
        return f"{entry.stage}: the run {run.id}, which made what dvc.lock says, {unlike[0]}"

    def unexplained(self, entry: Entry) -> str | None:
        """Why no run accounts for `entry` of dvc.lock; None: one does."""
        if not self._made(entry):
            return f"{entry.stage}: the lineage tells of no run that made what dvc.lock says"
        return self.contradiction(entry)

    def _made(self, entry: Entry) -> list[Run]:
        some = next(iter(entry.outs.items()), ("", ""))
        runs = self._by_out.get((entry.stage, *some), [])
        return [run for run in runs if run.outs.items() >= entry.outs.items()]


def _read(path: str, content: bytes) -> Run:
    try:
        events = [json.loads(line) for line in content.split(b"\n") if line]
        first, last = events[0], events[-1]
        about = first["run"]["facets"]["vqcast"]["about"] | last["run"]["facets"]["vqcast"]["about"]
        facets = last["run"]["facets"]
        commit = (about.get("git") or {}).get("commit") or ""
        for text in (first["run"]["runId"], first["job"]["name"], first["eventTime"], commit):
            if not isinstance(text, str):
                raise ValueError("not a text")
        return Run(
            id=first["run"]["runId"],
            stage=first["job"]["name"],
            began=first["eventTime"],
            ended=last["eventTime"] if len(events) > 1 else None,
            outcome=OUTCOMES[last["eventType"]],
            why=facets.get("errorMessage", {}).get("message"),
            inputs=_versions(first.get("inputs", [])),
            outs=_versions(last["outputs"]),
            about=about,
            prefect=facets.get("parent", {}).get("run", {}).get("runId"),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise VqcastError(f"{path} is damaged: it is no lineage of a run") from None


def _versions(datasets: list[dict]) -> dict[str, str]:
    versioned = (dataset for dataset in datasets if "version" in dataset.get("facets", {}))
    return {dataset["name"]: dataset["facets"]["version"]["datasetVersion"] for dataset in versioned}


def _after_module(words: list[str], stage: str) -> list[str]:
    """The arguments of a stage, however Python or torchrun was asked to run it."""
    module = f"stages.{stage}"
    return list(words[words.index(module) :]) if module in words else list(words)
