"""The stages of dvc.yaml and what they wait for, as DVC itself reads them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage import PipelineStage
from dvc.utils.serialize import load_yaml, modify_yaml

from vqcast.errors import VqcastError


@dataclass(frozen=True)
class DagStage:
    """One stage: what `dvc repro` calls it, the stages it waits for, and after which exit codes to retry."""

    name: str
    upstream: tuple[str, ...]
    transient_exit_codes: frozenset[int]
    deps: tuple[str, ...]  # paths relative to the root, or absolute
    outs: tuple[str, ...]


def read_dag(root: Path, targets: Sequence[str] = ()) -> list[DagStage]:
    """The stages that `targets` (default: all) need, in the order in which `dvc repro` runs them."""
    try:
        with Repo(str(root)) as repo:
            graph = repo.index.graph
            wanted = [stage for target in targets for stage in repo.stage.collect(target)]
            plan = plan_repro(graph, wanted or None)
            return [_describe(stage, graph.successors(stage)) for stage in plan if stage.cmd]
    except DvcException as error:
        raise VqcastError(" ".join(str(error).split())) from error


def _describe(stage: PipelineStage, upstream: Iterable[PipelineStage]) -> DagStage:
    return DagStage(
        name=_address(stage),
        upstream=tuple(sorted(_address(other) for other in upstream if other.cmd)),
        transient_exit_codes=frozenset((stage.meta or {}).get("transient_exit_codes", ())),
        deps=tuple(_path(dep, stage) for dep in stage.deps if not isinstance(dep, ParamsDependency)),
        outs=tuple(_path(out, stage) for out in stage.outs),
    )


def _address(stage: PipelineStage) -> str:
    """What `dvc repro` calls it in the root; `stage.addressing` says so relative to the current folder."""
    return stage.name if stage.path_in_repo == "dvc.yaml" else f"{stage.path_in_repo}:{stage.name}"


def _path(item: Output, stage: PipelineStage) -> str:
    """As a path relative to the root, but where dvc.yaml has an absolute one."""
    if os.path.isabs(item.def_path):
        return item.def_path
    return Path(os.path.relpath(item.fs_path, stage.repo.root_dir)).as_posix()


def read_models(root: Path) -> dict[str, str]:
    """Path of each model that dvc.yaml names under `artifacts`, by the artifact's name."""
    with Repo(str(root)) as repo:
        named = repo.artifacts.read().get("dvc.yaml", {})
    models = {name: artifact.path for name, artifact in named.items() if artifact.type == "model"}
    if not models:
        raise VqcastError("dvc.yaml names no artifact of type model")
    return models


def locked_stages(root: Path) -> list[str]:
    """Names of the stages in dvc.lock, in its order."""
    lock = root / "dvc.lock"
    return list(load_yaml(str(lock)).get("stages", {})) if lock.exists() else []


def order_lock(root: Path, names: Iterable[str]) -> None:
    """Put the stages of dvc.lock in the order of `names`; others stay behind them.

    DVC appends a stage when it ends, so stages that ran side by side stand in the order of the race.
    """
    locked = locked_stages(root)
    rank = {name: index for index, name in enumerate(names)}
    ordered = sorted(locked, key=lambda name: rank.get(name, len(rank)))
    if ordered == locked:
        return
    with Repo(str(root)) as repo, repo.lock, modify_yaml(str(root / "dvc.lock")) as document:
        stages = document["stages"]
        for name in ordered:
            stages[name] = stages.pop(name)
