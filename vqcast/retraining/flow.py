"""The flow that makes a new model aside, compares it with the promoted one, and promotes it or does not.

Until a model is promoted, the workspace, its dvc.lock and its git repository are not touched: everything
happens in clones under .vqcast, which share the workspace's DVC cache.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from dvc.utils.serialize import load_yaml, modify_yaml, parse_yaml
from prefect import flow, get_run_logger
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed, State

from vqcast.errors import VqcastError
from vqcast.flow.dag import DagStage, read_dag, read_models
from vqcast.flow.orchestration import RETRY_DELAYS, HowToRun, refuse_inside_stage, run_stages
from vqcast.flow.run_artifacts import LINEAGE, show_lineage, show_metrics, show_verdict
from vqcast.flow.workspace import sole_use
from vqcast.metrics.figures import METRICS, read_figures
from vqcast.retraining.clone import clone_workspace, dvc, furnish, has_remote
from vqcast.retraining.gate import Verdict, compare
from vqcast.retraining.git import (
    Upstream,
    answers,
    commit,
    current_branch,
    git,
    identity,
    newest_version,
    upstream_of,
    version_tag,
)
from vqcast.sources.exclusions import read_exclusions
from vqcast.work.files import SCRATCH
from vqcast.work.processes import ProcessGroups

EXCLUDE = "data/exclude.csv"
MARGIN = 0.02  # share of the promoted model's figure by which a new one may be worse


@dataclass(frozen=True)
class Promoted:
    """The models that a new one is compared with."""

    name: str  # the tags or the commit that they come from
    outs: Mapping[str, dict]  # what DVC knows of them, its hash above all, by path


@flow(name="vqcast-retrain", validate_parameters=False)
def retrain(
    margin: float = MARGIN,
    metric: str | None = None,
    exclude: str | None = None,
    exclude_none: bool = False,
    sync: bool = False,
    time_limit: float | None = None,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> State:
    """Retrain the project in the current folder on what there is now; promote the model if it is no worse.

    margin, metric: see `vqcast.retraining.gate.compare`. exclude: file or URL of the table to put in the
    place of data/exclude.csv; one that excludes nobody is refused where that one does, unless exclude_none.
    sync: start from the branch's upstream, and push there what is promoted.
    """
    root = Path.cwd()
    say = get_run_logger()
    groups = ProcessGroups()
    try:
        refuse_inside_stage()
        with sole_use(root, say.info):
            how = HowToRun(time_limit=time_limit, retry_delays=retry_delays)
            retraining = _Retraining(root, how, groups, say)
            return Completed(message=retraining.run(margin, metric, exclude, exclude_none, sync))
    except VqcastError as error:
        return Failed(message=str(error))
    except BaseException:
        groups.end()
        raise


class _Retraining:
    def __init__(self, root: Path, how: HowToRun, groups: ProcessGroups, say: logging.Logger):
        self.root, self.how, self.groups, self.say = root, how, groups, say

    def run(
        self, margin: float, metric: str | None, exclude: str | None, exclude_none: bool, sync: bool
    ) -> str:
        """Do it all; what came of it, in a sentence."""
        branch, start = current_branch(self.root), git(self.root, "rev-parse", "HEAD")
        upstream = upstream_of(self.root, branch) if sync else None
        candidate = clone_workspace(self.root, "candidate")
        if upstream:
            _advance(candidate, upstream)
        furnish(candidate, self.root, self.root / SCRATCH)
        if exclude:
            _refresh_exclusions(exclude, candidate, exclude_none)
        self._make(candidate)
        verdict, tagged = self._judge(candidate, read_models(candidate), metric, margin)
        self.say.info(verdict.sentence)
        show_verdict(verdict.details)
        if verdict.promote:
            if (current_branch(self.root), git(self.root, "rev-parse", "HEAD")) != (branch, start):
                raise VqcastError("something else was committed in the workspace meanwhile; retrain again")
            self._promote(candidate, upstream, tagged, verdict.sentence)
        return verdict.sentence

    def _make(self, candidate: Path) -> None:
        """Run the pipeline in `candidate`. Stages that need no other read the world, so they run anyway."""
        self._bring(candidate)
        dag = read_dag(candidate)
        sources = [stage.name for stage in dag if not stage.upstream]
        how = HowToRun(sources, time_limit=self.how.time_limit, retry_delays=self.how.retry_delays)
        failures = run_stages(candidate, dag, how)
        if failures:
            raise VqcastError("; ".join(failures))
        show_metrics(candidate)

    def _bring(self, clone: Path, *targets: str) -> None:
        """What dvc.lock names, as far as the cache, or the remote, has it."""
        command = "pull" if has_remote(clone) else "checkout"
        self._dvc(clone, command, "--quiet", "--allow-missing", *targets)

    def _dvc(self, clone: Path, *arguments: str) -> None:
        dvc(clone, self.groups, self.say.info, *arguments)

    def _judge(
        self, candidate: Path, models: Mapping[str, str], metric: str | None, margin: float
    ) -> tuple[Verdict, list[str]]:
        """Whether to promote what `candidate` has, and which of its models are new then."""
        promoted = _promoted_models(candidate, models)
        made = _outs(load_yaml(str(candidate / "dvc.lock")))
        for path in models.values():
            if path not in made:
                raise VqcastError(f"no stage makes {path}, which dvc.yaml calls a model")
        if not promoted:
            sentence = "promoted: there was no promoted model to compare with"
            return Verdict(True, sentence, sentence), list(models)
        if all(made[path]["md5"] == promoted.outs[path]["md5"] for path in models.values()):
            sentence = f"the new models are those of {promoted.name}, byte by byte: nothing to promote"
            return Verdict(True, sentence, sentence), []
        theirs = self._figures_of(promoted, candidate, models)
        return compare(read_figures(candidate), theirs, metric, margin), list(models)

    def _figures_of(self, promoted: Promoted, candidate: Path, models: Mapping[str, str]) -> dict:
        """Figures of the promoted model on the windows of `candidate`: what comes after training, with it."""
        self.say.info(f"judging {promoted.name} on the same windows")
        judged = clone_workspace(self.root, "judged")
        git(judged, "fetch", "--quiet", str(candidate), "HEAD")
        git(judged, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        furnish(judged, self.root, self.root / ".vqcast/scratch-promoted")
        _copy_state(candidate, judged)
        with modify_yaml(str(judged / "dvc.lock")) as document:
            for stage in document["stages"].values():
                outs = stage.get("outs", [])
                for number, out in enumerate(outs):
                    outs[number] = promoted.outs[out["path"]] if out["path"] in models.values() else out
        self._bring(judged)
        for path in models.values():
            if not (judged / path).exists():
                raise VqcastError(f"{path} of {promoted.name} is neither in the cache nor on a remote")
        stages = _after_models(read_dag(judged), set(models.values()))
        failures = run_stages(judged, stages, self.how, suffix=" of the promoted model")
        if failures:
            raise VqcastError(f"the promoted model, {promoted.name}, could not be judged: {failures[0]}")
        return read_figures(judged)

    def _promote(
        self, candidate: Path, upstream: Upstream | None, models: Sequence[str], sentence: str
    ) -> None:
        """Push the data, commit, tag `models`; the last thing is to bring the workspace there."""
        if has_remote(candidate):
            self._dvc(candidate, "push", "--quiet")
        versions = [newest_version(candidate, name) for name in models]
        version = (max((found[0] for found in versions if found), default=0) + 1, 0, 0)
        subject = f"Promote {', '.join(models)} v{version[0]}" if models else "Bring what was made up to date"
        message = f"{subject}\n\n{sentence}\n\nPrefect run: {FlowRunContext.get().flow_run.name}"
        commit(candidate, self.root, ["dvc.lock", EXCLUDE], LINEAGE, message)
        tags = [version_tag(name, version) for name in models]
        for tag in tags:
            git(candidate, *identity(self.root), "tag", "--annotate", "--message", sentence, tag)
        if upstream:
            refs = [f"HEAD:refs/heads/{upstream.branch}", *(f"refs/tags/{tag}" for tag in tags)]
            git(candidate, "push", "--quiet", "--atomic", upstream.url, *refs)
        git(self.root, "fetch", "--quiet", "--no-tags", str(candidate), "HEAD")
        git(self.root, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
        git(self.root, "fetch", "--quiet", "--tags", str(candidate))
        try:
            self._dvc(self.root, "checkout", "--quiet")
        except VqcastError as error:
            self.say.warning(f"{error}; the model is promoted, and dvc checkout --force brings its data here")
        show_lineage(self.root)


def _advance(candidate: Path, upstream: Upstream) -> None:
    """Go on to what `upstream` has, if that is ahead; VqcastError where the two have parted."""
    git(candidate, "fetch", "--quiet", "--tags", upstream.url, upstream.branch)
    if answers(candidate, "merge-base", "--is-ancestor", "FETCH_HEAD", "HEAD") is not None:
        return
    if answers(candidate, "merge-base", "--is-ancestor", "HEAD", "FETCH_HEAD") is None:
        raise VqcastError(f"the branch and its upstream {upstream.branch} have parted; merge or rebase it")
    git(candidate, "checkout", "--quiet", "--detach", "FETCH_HEAD")


def _refresh_exclusions(source: str, clone: Path, exclude_none: bool) -> None:
    path, before = clone / EXCLUDE, {}
    with contextlib.suppress(VqcastError):  # a table that is none excludes nobody
        before = read_exclusions(path).reasons
    try:
        if source.startswith(("http://", "https://")):
            response = httpx.get(source, follow_redirects=True, timeout=60)
            response.raise_for_status()
            content = response.content
        else:
            content = Path(source).read_bytes()
    except (httpx.HTTPError, OSError) as error:
        raise VqcastError(f"the exclusions at {source} cannot be read: {error}") from None
    path.write_bytes(content)
    try:
        after = read_exclusions(path).reasons
    except VqcastError as error:
        raise VqcastError(str(error).replace(str(path), source)) from None
    if before and not after and not exclude_none:
        raise VqcastError(
            f"the exclusions at {source} exclude nobody, and the committed table {len(before)}: "
            "--exclude-none says that this is meant"
        )


def _promoted_models(clone: Path, models: Mapping[str, str]) -> Promoted | None:
    """Each model's newest version; where none was tagged yet, those in the committed dvc.lock."""
    versions = {name: newest_version(clone, name) for name in models}
    revisions = {name: version_tag(name, version) for name, version in versions.items() if version}
    if not revisions:
        revisions = dict.fromkeys(models, "HEAD")
    outs = {}
    for name, path in models.items():
        revision = revisions.get(name)
        lock = answers(clone, "show", f"{revision}:dvc.lock") if revision else None
        found = _outs(parse_yaml(lock, "dvc.lock")).get(path) if lock else None
        if found is None:
            if set(revisions.values()) == {"HEAD"}:
                return None
            raise VqcastError(f"{revision or 'no version tag'} names no {path} to compare the new one with")
        outs[path] = found
    names = sorted(set(revisions.values()))
    return Promoted("the committed dvc.lock" if names == ["HEAD"] else ", ".join(names), outs)


def _outs(lock: Mapping) -> dict[str, dict]:
    """What a dvc.lock says of every out, by path."""
    return {
        out["path"]: dict(out) for stage in lock.get("stages", {}).values() for out in stage.get("outs", [])
    }


def _copy_state(source: Path, clone: Path) -> None:
    for path in ("dvc.lock", EXCLUDE):
        if (source / path).exists():
            (clone / path).write_bytes((source / path).read_bytes())


def _after_models(dag: Sequence[DagStage], models: set[str]) -> list[DagStage]:
    """The stages between the models and the evaluation: all that a model's figures take but its training."""
    makers = {stage.name for stage in dag if models & set(stage.outs)}
    after: list[DagStage] = []
    for stage in dag:
        names = {found.name for found in after}
        if stage.name not in makers and set(stage.upstream) & (makers | names):
            after.append(stage)
    needed = {stage.name for stage in after if METRICS in stage.outs}
    if not needed:
        raise VqcastError(f"no stage makes {METRICS} from the models")
    for stage in reversed(after):
        if stage.name in needed:
            needed |= set(stage.upstream)
    return [stage for stage in after if stage.name in needed]
