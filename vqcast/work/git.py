"""Git as this project calls it: about the repository that a folder lies in, whoever called the project."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# By these git tells its hooks and aliases what they work on (`git rev-parse --local-env-vars`), and a user
# how paths are to be read. Configuration, as GIT_CONFIG_COUNT, stays: it may say whom to trust.
OF_THE_CALLER = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_CONFIG"),
    *("GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS"),
    *("GIT_IMPLICIT_WORK_TREE", "GIT_INTERNAL_SUPER_PREFIX"),
    *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"),
)


def forget_callers_repository() -> None:
    """Let no git that this process starts, through DVC for one, work on the repository of who called it."""
    for name in OF_THE_CALLER:
        os.environ.pop(name, None)


def run_git(
    *arguments: str,
    folder: Path | None = None,
    input: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git in `folder`, by default the current one, with words that are not translated.

    OSError where there is no git.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=kept | {"LANGUAGE": "C"} | dict(variables or {}),
        input=input,
        capture_output=True,
    )
