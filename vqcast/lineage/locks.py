"""dvc.lock read as what it is: which command made which content from which content."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vqcast.errors import VqcastError

RAW = "data/raw.parquet"
CLIPS = "data/clips.parquet"
MODELS = "models/"
METRICS = "reports/evaluate.json"


@dataclass(frozen=True)
class Entry:
    """One stage of a dvc.lock."""

    stage: str
    cmd: str
    deps: Mapping[str, str]  # hash by path
    outs: Mapping[str, str]
    params: Mapping[str, object]  # dotted key -> value
    reads: frozenset[str] = frozenset()  # of params.yaml: sections, or single keys

    def read_of(self, params: Mapping[str, object]) -> dict[str, object]:
        """What the stage reads of the content of a params.yaml, dotted key -> value."""
        return {key: value for key, value in params.items() if self.reads & set(_and_above(key))}

    @property
    def code(self) -> dict[str, str]:
        return {path: md5 for path, md5 in self.deps.items() if path.endswith(".py")}

    @property
    def inputs(self) -> dict[str, str]:
        return {path: md5 for path, md5 in self.deps.items() if not path.endswith(".py")}


@dataclass(frozen=True)
class Lock:
    """A dvc.lock: its stages by name."""

    entries: Mapping[str, Entry]

    def maker(self, path: str) -> Entry | None:
        """The stage that made `path`."""
        return next((entry for entry in self.entries.values() if path in entry.outs), None)

    @property
    def models(self) -> dict[str, str]:
        """Hash of every model, by path."""
        outs = ((path, md5) for entry in self.entries.values() for path, md5 in entry.outs.items())
        return {path: md5 for path, md5 in outs if path.startswith(MODELS)}

    def mentions(self, path: str) -> bool:
        return any(path in entry.outs or path in entry.deps for entry in self.entries.values())

    def hash(self, path: str) -> str | None:
        entry = self.maker(path)
        return entry.outs[path] if entry else None


def parse_lock(text: str | bytes, where: str) -> Lock:
    """Read a dvc.lock; VqcastError naming `where` it stands if it is none."""
    document = parse_lock_document(text, where)
    return Lock({name: _entry(name, stage) for name, stage in document.items()})


def parse_lock_document(text: str | bytes, where: str) -> dict[str, dict]:
    """The stages of a dvc.lock as they stand in it."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        document = YAML(typ="safe").load(text)
        if not isinstance(document, dict) or not isinstance(document.get("stages"), dict):
            raise ValueError("it names no stages")
        stages = document["stages"]
        for name, stage in stages.items():
            _entry(name, stage)
        return stages
    except (YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise VqcastError(f"{where} is damaged: {' '.join(str(error).split()) or 'no dvc.lock'}") from None


def _entry(name: str, stage: dict) -> Entry:
    deps = {dep["path"]: dep["md5"] for dep in stage.get("deps", ())}
    outs = {out["path"]: out["md5"] for out in stage.get("outs", ())}
    for path, md5 in (deps | outs).items():
        if not isinstance(path, str) or not isinstance(md5, str):
            raise ValueError(f"{path!r} has the hash {md5!r}")
    params: dict[str, object] = {}
    for file, sections in stage.get("params", {}).items():
        prefix = "" if file == "params.yaml" else f"{file}:"
        params |= {f"{prefix}{key}": value for key, value in flatten(sections)}
    reads = frozenset(stage.get("params", {}).get("params.yaml", {}))
    return Entry(name, " ".join(str(stage["cmd"]).split()), deps, outs, params, reads)


def _and_above(key: str) -> Iterator[str]:
    """a.b.c, a.b and a."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def flatten(sections: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted key and value of every leaf of nested mappings."""
    for key, value in sections.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Chains:
    """Which stage made what, in any of some locks: the hash decides, not the path alone."""

    def __init__(self, locks: Iterable[Lock]):
        """locks: where two know the same content the first is believed, so the one in question is first."""
        self._makers: dict[tuple[str, str], list[Entry]] = {}
        self._made: set[str] = set()
        for lock in locks:
            for entry in lock.entries.values():
                for path, md5 in entry.outs.items():
                    makers = self._makers.setdefault((path, md5), [])
                    if entry not in makers:
                        makers.append(entry)
                    self._made.add(path)

    def of(self, path: str, md5: str) -> "Chain":
        """All that led to the content `md5` of `path`."""
        chain = Chain([], [])
        self._visit(path, md5, chain, every=False)
        return chain

    def every(self, path: str, md5: str) -> "Chain":
        """All that ever led to it: where the same bytes were made from several things, all of them."""
        chain = Chain([], [])
        self._visit(path, md5, chain, every=True)
        return chain

    def _visit(self, path: str, md5: str, chain: "Chain", every: bool) -> None:
        makers = self._makers.get((path, md5), [])
        if not makers and path in self._made and (path, md5) not in chain.missing:
            chain.missing.append((path, md5))
        for entry in makers if every else makers[:1]:
            if entry not in chain.stages:
                for dep, its_md5 in entry.inputs.items():
                    self._visit(dep, its_md5, chain, every)
                chain.stages.append(entry)


@dataclass(frozen=True)
class Chain:
    """The stages that led to some content, each after those that it took from."""

    stages: list[Entry]
    missing: list[tuple[str, str]]  # path and hash of what no known stage made

    def hashes(self, path: str) -> list[str]:
        """The contents of `path` that went into it."""
        used = [entry.inputs[path] for entry in self.stages if path in entry.inputs]
        return list(dict.fromkeys(used))
