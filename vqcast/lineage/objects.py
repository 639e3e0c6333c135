"""Old contents by their hash: what lies in the folder itself, and in DVC's cache."""

import configparser
import functools
import json
import os
from pathlib import Path

import platformdirs

from vqcast.errors import VqcastError
from vqcast.work.hashes import md5_file


class Objects:
    """Contents that dvc.lock names, of the project at `root`."""

    def __init__(self, root: Path):
        self.root = root

    def file(self, path: str, md5: str) -> Path:
        """A file that holds the content `md5` of `path`; VqcastError where there is none or it is damaged."""
        if self._there(path) == md5:
            return self.root / path
        if self.cached(md5).is_file() and md5_file(self.cached(md5)) == md5:
            return self.cached(md5)
        if self.cached(md5).is_file():
            raise VqcastError(f"{self.cached(md5)} in DVC's cache is damaged: it was {path} once")
        raise VqcastError(
            f"{path} as it once was (md5 {md5}) is not in DVC's cache; if a remote has it, "
            f"`dvc fetch --all-commits {path}` brings it"
        )

    @functools.cache  # noqa: B019 for as long as one audit lasts
    def _there(self, path: str) -> str | None:
        """The hash of the file that lies at `path` now."""
        place = self.root / path
        return md5_file(place) if place.is_file() else None

    def listing(self, md5: str) -> dict[str, str] | None:
        """MD5 of every file of a folder, by its path in it; None where the cache does not know the folder."""
        try:
            entries = json.loads(self.cached(md5).read_bytes())
            return {entry["relpath"]: entry["md5"] for entry in entries}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def cached(self, md5: str) -> Path:
        """Where DVC's cache keeps a content, if it does."""
        return self._cache / "files" / "md5" / md5[:2] / md5[2:]

    @functools.cached_property
    def _cache(self) -> Path:
        """The cache's folder, from DVC's configuration files; DVC itself would take half a second to load."""
        system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")
        user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")
        files = [Path(system, "config"), Path(user, "config")]
        files += [self.root / ".dvc" / name for name in ("config", "config.local")]
        cache = self.root / ".dvc/cache"
        for file in files:
            config = configparser.RawConfigParser(strict=False)
            try:
                config.read(file)
            except configparser.Error:
                raise VqcastError(f"{file} is damaged: it is no configuration of DVC") from None
            if folder := config.get("cache", "dir", fallback="").strip("'\""):
                cache = file.parent / folder
        return cache
