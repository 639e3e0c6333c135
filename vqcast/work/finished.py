"""Shards that outlive the run that made them, so that the next one makes only those that changed."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vqcast.work.environment import workers
from vqcast.work.files import appearing, link_or_copy, sha256_file


class FinishedShards:
    """Finished shards in a folder of scratch, each by the key of all that shaped it, with a note about it.

    What is published are hard links to them, and they take no space of their own. No shard is ever written
    to: not here, nor where it is linked.
    """

    def __init__(self, folder: Path, suffix: str):
        self.folder, self.suffix = folder, suffix
        folder.mkdir(parents=True, exist_ok=True)

    def shard(self, key: str) -> Path:
        return self.folder / f"{key}{self.suffix}"

    def note(self, key: str) -> dict:
        """What was noted about a finished shard, and its `sha256`."""
        return json.loads(self._note(key).read_text())

    @contextlib.contextmanager
    def appearing(self, key: str, note: Mapping[str, object]) -> Iterator[Path]:
        """A path to write a shard to; on success it is finished, with `note` as it is then."""
        with appearing(self.shard(key)) as partial:
            yield partial
        with appearing(self._note(key)) as partial:  # the later of the two: it makes the shard a finished one
            partial.write_text(json.dumps({**note, "sha256": sha256_file(self.shard(key))}))

    def whole(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose shards are finished and still what they were."""
        keys = list(keys)
        with ThreadPoolExecutor(workers()) as pool:
            return {key for key, whole in zip(keys, pool.map(self._is_whole, keys), strict=True) if whole}

    def publish_into(self, folder: Path, keys: Mapping[str, str]) -> None:
        """Make `folder` anew, with a link to the shard of each key under the name that it has in `keys`."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, key in keys.items():
            link_or_copy(self.shard(key), folder / name)

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove every other shard, and what a killed run left half done."""
        kept = {path for key in keys for path in (self.shard(key), self._note(key))}
        for path in self.folder.iterdir():
            if path not in kept:
                path.unlink()

    def _note(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _is_whole(self, key: str) -> bool:
        try:
            return self.note(key)["sha256"] == sha256_file(self.shard(key))
        except (OSError, ValueError, KeyError):
            return False
