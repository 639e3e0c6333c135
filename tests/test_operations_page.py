"""docs/operations.md and the commands' own help give commands that exist."""

import re
import shlex
import subprocess
import sys

import pytest

from pipeline import parser
from tests.conftest import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()


def commands(text: str) -> list[str]:
    """Every `python pipeline.py ...` in `text`, without what a shell adds to it."""
    found = re.findall(r"python pipeline\.py ([^`\n]+)", text)
    return [re.split(r" +#| +& |  +", command)[0].replace("$(hostname)", "host") for command in found]


@pytest.mark.parametrize("command", sorted(set(commands(PAGE))))
def test_command_of_the_page_is_one_that_pipeline_knows(command):
    words = shlex.split(command)
    if "--help" in words:
        assert words[0] in parser().format_help()
    else:
        parser().parse_args(words)


def test_files_that_the_page_names_exist():
    names = re.findall(r"(?:requirements\S*\.txt|kubernetes/\S+\.json|prefect\.yaml|params\.yaml)", PAGE)
    assert len(set(names)) >= 5
    assert all((ROOT / name).exists() for name in names)


@pytest.mark.parametrize("command", ["retrain", "serve", "deploy"])
def test_help_gives_examples_that_work(command):
    shown = subprocess.run(
        [sys.executable, ROOT / "pipeline.py", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    examples = commands(shown.partition("examples:")[2])
    assert examples
    for example in examples:
        parser().parse_args(shlex.split(example))
