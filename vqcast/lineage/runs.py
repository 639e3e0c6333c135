"""Runs of stages, read back from the events that they left."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from vqcast.errors import VqcastError
from vqcast.lineage.history import History
from vqcast.lineage.locks import Entry

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
    outs: dict[str, str]  # hash by path of what it made
    about: dict  # see vqcast/work/record.py
    prefect: str | None  # the flow run that it was a part of

    @property
    def commit(self) -> str | None:
        """What was checked out when it began."""
        return (self.about.get("git") or {}).get("commit")

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

    def maker(self, entry: Entry) -> Run | None:
        """The newest run that made all that `entry` of dvc.lock says its stage made."""
        made = (run for run in self.all if run.stage == entry.stage and run.outcome == "complete")
        return next((run for run in made if run.outs.items() >= entry.outs.items()), None)


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
        outs = {
            out["name"]: out["facets"]["version"]["datasetVersion"] for out in _versioned(last["outputs"])
        }
        return Run(
            id=first["run"]["runId"],
            stage=first["job"]["name"],
            began=first["eventTime"],
            ended=last["eventTime"] if len(events) > 1 else None,
            outcome=OUTCOMES[last["eventType"]],
            why=facets.get("errorMessage", {}).get("message"),
            outs=outs,
            about=about,
            prefect=facets.get("parent", {}).get("run", {}).get("runId"),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise VqcastError(f"{path} is damaged: it is no lineage of a run") from None


def _versioned(datasets: list[dict]) -> list[dict]:
    return [dataset for dataset in datasets if "version" in dataset.get("facets", {})]
