"""A whole project, small: this repository's stages in a git and DVC repository of their own."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import pipeline
from tests.conftest import ROOT

SMALL = {
    "download": {
        "source": "sample",
        "sample": {"train_videos": 5, "val_videos": 2, "frames": 20, "seed": 0},
    },
    "clip": {"resolution": 32, "videos_per_shard": 2},
    "window": {"stride": 4},
    "vqvae": {"hidden": 8, "residual": 4, "residual_layers": 1, "codes": 16, "code_dim": 4},
    "expectation": {"hidden": 8, "layers": 2},
    "train_vqvae": {
        "steps": 3,
        "batch_size": 2,
        "warmup_steps": 1,
        "validate_every": 3,
        "checkpoint_every": 1,
    },
    "encode": {"batch_size": 4},
    "top_prior": {"hidden": 8, "residual": 8, "layers": 1, "attention_every": 1, "heads": 2},
    "train_top_prior": {"steps": 3, "batch_size": 2, "validate_every": 3, "warmup_steps": 1},
    "bottom_prior": {"hidden": 8, "residual": 8, "layers": 1, "attention_every": 1, "heads": 2},
    "train_bottom_prior": {"steps": 3, "batch_size": 2, "validate_every": 3, "warmup_steps": 1},
    "evaluate": {"resolution": 32, "batch_size": 2},
    "report": {"windows": 1, "predictions": 2},
}
COPIED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml")
SKELETON = ("data", "models", "reports")  # their .gitignore and README files
PERSON = ("-c", "user.name=Ada Auditor", "-c", "user.email=ada@example.org")


def environment(folder: Path) -> dict[str, str]:
    """That of commands in the project at `folder`: this Python, nothing written outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "PYTHONPATH"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / f"{folder.name} site cache"),
        "VQCAST_WORKERS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


def make_project(folder: Path, **changes: dict) -> Path:
    """The project with parameters SMALL, and `changes` to its sections; committed, and nothing run yet."""
    for name in (*COPIED, *(path for top in SKELETON for path in _skeleton(top))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for package in ("stages", "vqcast"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in (*SMALL.items(), *changes.items()):
        params[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "the pipeline")
    return folder


def _skeleton(top: str) -> list[str]:
    found = [path for name in (".gitignore", "README.md") for path in (ROOT / top).rglob(name)]
    return [path.relative_to(ROOT).as_posix() for path in found if ".vqcast" not in path.parts]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *PERSON, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commit everything; the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def run(folder: Path, *command: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in the project; it must end with exit code `code`."""
    finished = subprocess.run(
        command, cwd=folder, env=environment(folder) | variables, capture_output=True, text=True, timeout=900
    )
    assert finished.returncode == code, finished.stdout[-4000:] + finished.stderr[-4000:]
    return finished


def repro(folder: Path, *stages: str) -> None:
    run(folder, "dvc", "repro", *stages)


@dataclass(frozen=True)
class Answer:
    """What a command of pipeline.py said."""

    stdout: str
    stderr: str


def audit(folder: Path, *arguments: str, code: int = 0) -> dict:
    """The JSON answer of `pipeline.py audit`."""
    return json.loads(run_audit(folder, *arguments, "--json", code=code).stdout)


def audit_text(folder: Path, *arguments: str, code: int = 0) -> str:
    return run_audit(folder, *arguments, code=code).stdout


def run_audit(folder: Path, *arguments: str, code: int = 0) -> Answer:
    """Run `pipeline.py audit` in the project, in this process: it need not load all libraries each time."""
    said, complained = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pipeline.py", "audit", *arguments])
        patch.delenv("PYTHONPATH", raising=False)
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                ended = pipeline.main()
            except SystemExit as error:
                ended = error.code
    assert ended == code, said.getvalue()[-4000:] + complained.getvalue()[-4000:]
    return Answer(said.getvalue(), complained.getvalue())
