"""Files that appear whole or not at all, hashes, and the scratch folder a stage resumes from."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.work.code import import_closure

SCRATCH = Path(".vqcast/scratch")


def nobody_asks(folder: Path) -> None:
    """What there is to do when a scratch folder is opened and no lineage is recorded."""


scratch_opened: Callable[[Path], None] = nobody_asks  # told of each folder before work goes on in it


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def appearing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write a file to; it is renamed to `path` on success only."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def publish_directory(folder: str | Path, out: str | Path) -> None:
    """Make finished `folder` appear as `out` in one rename; an earlier `out` is removed."""
    folder, out = Path(folder), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        old = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
        os.rename(out, old)
        os.rename(folder, out)
        shutil.rmtree(old)
    else:
        os.rename(folder, out)


def link_or_copy(source: str | Path, path: str | Path) -> None:
    """Make `path` a hard link to `source` where the file system can, else a copy."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def open_scratch(stage: str, settings: Sequence[object], inputs: Sequence[str | Path]) -> Path:
    """The folder in which `stage` keeps its progress, existing and keyed by all that shapes its result.

    The key covers `settings` (dataclasses, or single values), the content of the `inputs` files, and the
    code that `stages/<stage>.py` imports. A run with another key never sees this folder.
    """
    for path in inputs:
        if not Path(path).is_file():
            raise VqcastError(f"{path} does not exist; run the stage that makes it first")
    root = Path(__file__).resolve().parents[2]
    modules = import_closure(root / "stages" / f"{stage}.py", root)
    identity = {
        "settings": [dataclasses.asdict(s) if dataclasses.is_dataclass(s) else s for s in settings],
        "inputs": [sha256_file(path) for path in inputs],
        "code": {str(module): sha256_file(root / module) for module in modules},
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    folder = SCRATCH / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    scratch_opened(folder)
    return folder


def clear_scratch(stage: str, keep: Path | None = None) -> None:
    """Remove every scratch folder of `stage` but `keep`, once it has succeeded.

    They go out of sight in one rename: what is half removed must not be taken for progress.
    """
    folder, hidden = SCRATCH / stage, SCRATCH / f".{stage}"
    shutil.rmtree(hidden, ignore_errors=True)  # of a run that was killed here
    if not folder.is_dir():
        return
    if keep is None:
        os.rename(folder, hidden)
    else:
        hidden.mkdir()
        for other in folder.iterdir():
            if other.name != keep.name:
                os.rename(other, hidden / other.name)
    shutil.rmtree(hidden, ignore_errors=True)
