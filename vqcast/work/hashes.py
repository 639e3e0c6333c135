"""Content hashes as dvc.lock states them."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

THREADS = 8  # that read files; hashing frees the interpreter


def md5_file(path: str | Path) -> str:
    """Hex MD5 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def list_folder(folder: str | Path) -> dict[str, str]:
    """MD5 of every file below `folder`, by its path relative to it."""
    folder = Path(folder)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(files, pool.map(lambda name: md5_file(folder / name), files), strict=True))


def md5_listing(files: Mapping[str, str]) -> str:
    """The hash by which DVC knows a folder of these files: that of their list, with the suffix `.dir`."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def md5_of(path: str | Path) -> str:
    """The hash of a file or folder, as dvc.lock states it."""
    return md5_listing(list_folder(path)) if Path(path).is_dir() else md5_file(path)
