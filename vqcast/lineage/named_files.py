"""Files that params.yaml names and dvc.yaml does not, which a clone of the project needs as well."""

import os
from pathlib import Path

from vqcast.lineage.locks import flatten
from vqcast.settings.params import read_params

PARAMETERS = ("download.kinetics_urls.cookies", "evaluate.weights")


def files_in_params(root: Path) -> list[str]:
    """Paths relative to `root`, as `root`/params.yaml names them; absolute ones need no care, nor do URLs."""
    params = root / "params.yaml"
    stated = dict(flatten(read_params(params))) if params.exists() else {}
    named = [stated.get(parameter) for parameter in PARAMETERS]
    return [
        Path(os.path.normpath(path)).as_posix()
        for path in named
        if isinstance(path, str) and path and "://" not in path and not os.path.isabs(path)
    ]
