"""README, docs and the help of pipeline.py give commands that parse, and name and link what is there."""

import argparse
import contextlib
import importlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import yaml

from pipeline import COMMANDS, parser
from tests.conftest import ROOT

PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
STAGES = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


# Commands out of a text.


def code_lines(text: str) -> Iterator[str]:
    """Lines of fenced and of indented code; one that ends in a backslash is one with the next."""
    fenced = False
    for line in re.sub(r" *\\\n *", " ", text).split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def prose(text: str) -> str:
    """`text` without its code lines."""
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$", "", outside, flags=re.MULTILINE)


def spans(text: str) -> Iterator[str]:
    """Code between backticks in the prose, but what leaves something open: `...` or `<name>`."""
    for span in re.findall(r"`([^`]+)`", prose(text)):
        if "..." not in span and "<" not in span:
            yield " ".join(span.split())


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each command of a shell's line, or of a systemd unit's, that a parser is known for."""
    line = re.sub(r"^\$ |^ExecStart=\S*/", "", line)
    line = re.sub(r"(^|\s)#.*", "", line)
    line = re.sub(r"\$\(.*?\)", "host", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe, where the line is no shell's
        words = line.split()
    for is_operator, group in itertools.groupby(words, lambda word: set(word) <= set("();<>|&")):
        command = list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=|srun$|sudo$", word), group))
        if not is_operator and len(command) > 1 and command[0] in PARSERS:
            yield command


def commands(text: str) -> list[str]:
    """Every command that a page gives, once."""
    lines = (*code_lines(text), *spans(text))
    return sorted({shlex.join(command) for line in lines for command in simple_commands(line)})


# What is wrong with a command, by the parser that would read it.


class Parsed(Exception):
    """The command line was understood; what it asks for is not done."""


def parse_python(words: list[str]) -> None:
    if words[0] == "pipeline.py":
        arguments = parser().parse_args(words[1:])
        known(getattr(arguments, "stages", ()))
    elif words[0] == "-m":
        parse_module(words[1], words[2:])
    else:
        raise ValueError(f"no script {words[0]}")


def parse_module(module: str, words: list[str]) -> None:
    """As the parser in the module's `main` does; a `main` that does not begin with one takes no arguments."""
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    if not re.search(r"^def main\(\) -> None:\n    (parser|arguments) = ", source, re.MULTILINE):
        if words:
            raise ValueError(f"{module} takes no arguments")
        return
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser) -> None:
        real(self)
        raise Parsed

    main = importlib.import_module(module).main
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop),
        mock.patch.object(sys, "argv", [module, *words]),
        contextlib.suppress(Parsed),
    ):
        main()


def parse_torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    arguments = get_args_parser().parse_args(words)
    assert arguments.module
    parse_module(arguments.training_script, arguments.training_script_args)


def parse_make(words: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, env=environment, check=True, capture_output=True)


def parse_dvc(words: list[str]) -> None:
    from dvc.cli.parser import get_main_parser

    arguments = get_main_parser().parse_args(words)
    if arguments.cmd in ("repro", "commit"):
        known(arguments.targets)


def parse_prefect(words: list[str]) -> None:
    from prefect.cli._app import _app

    words = [str(uuid.UUID(int=0)) if word == "ID" else word for word in words]
    _app.parse_args(words, exit_on_error=False, print_error=False)


def known(stages: list[str]) -> None:
    if not STAGES.issuperset(stages):
        raise ValueError(f"no such stage: {sorted(set(stages) - STAGES)}")


PARSERS = {
    "python": parse_python,
    "torchrun": parse_torchrun,
    "make": parse_make,
    "dvc": parse_dvc,
    "prefect": parse_prefect,
}


def complaint(command: str) -> str:
    """What the command's parser has against it; nothing where it would run."""
    program, *words = shlex.split(command)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSERS[program](words)
        except SystemExit as end:  # --help ends with 0
            return (said.getvalue() or "refused") if end.code else ""
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


# Where links lead.


def anchors(text: str) -> set[str]:
    """The headings' names by GitHub's rules; one that comes again gets a number."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        found.append(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return {f"{name}-{found[:n].count(name)}".removesuffix("-0") for n, name in enumerate(found)}


def links(text: str) -> list[str]:
    """Targets of the links and images of a page that lead to this repository."""
    found = re.findall(r'(?:\]\(|(?:src|href)=")([^)"\s]+)', re.sub(r"`[^`]*`", "", prose(text)))
    return [target for target in found if not re.match(r"\w+:", target)]


def dead_links(page: Path, text: str) -> list[str]:
    """Links that lead to no file of the repository, or to none of a page's headings."""
    dead = []
    for target in links(text):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        there = path.is_relative_to(ROOT) and (path.exists() or path == page)
        if not there or (anchor and anchor not in anchors(path.read_text() if name else text)):
            dead.append(target)
    return dead


def absent_files(text: str) -> list[str]:
    """Files of this repository that a page names, wherever in it, and that are not there."""
    folders = "stages|vqcast|tests|benchmarks|presets|kubernetes|docs"
    names = re.findall(rf"(?<![\w/.-])((?:(?:{folders})/[\w/.-]*|requirements[\w.]*)\.[a-z]\w*)\b", text)
    return sorted({name for name in names if not (ROOT / name).exists()})


# The pages.


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in PAGES for command in commands(PAGES[page].read_text())]
)
def test_command_of_a_page_is_one_that_its_parser_takes(page, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert complaint(command) == ""


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_of_a_page_lead_somewhere(page):
    assert dead_links(PAGES[page], PAGES[page].read_text()) == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page):
    assert absent_files(PAGES[page].read_text()) == []


def test_the_readme_leads_to_every_page_and_every_picture_is_shown():
    shown = {
        path.parent.joinpath(target.partition("#")[0]).resolve()
        for path in PAGES.values()
        for target in links(path.read_text())
    }
    assert shown >= set(ROOT.glob("docs/*.png"))
    assert {target for target in links(PAGES["README.md"].read_text()) if target.endswith(".md")} == {
        page for page in PAGES if page != "README.md"
    }


@pytest.mark.parametrize(("name", "lines"), [("README.md", 250), ("pipeline.py", 60)])
def test_the_first_things_to_read_are_short(name, lines):
    assert len((ROOT / name).read_text().splitlines()) < lines


def parsers(one: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of all its commands."""
    yield one
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_help_of_pipeline_gives_examples_that_work(monkeypatch):
    monkeypatch.chdir(ROOT)
    with_examples = [one.epilog for one in parsers(parser()) if "examples:" in (one.epilog or "")]
    assert len(with_examples) >= len(COMMANDS)
    for epilog in with_examples:
        examples = [
            re.split(" {2,}", line.strip())[0] for line in epilog.partition("examples:\n")[2].splitlines()
        ]
        found = [command for example in examples for command in simple_commands(example)]
        assert found
        assert [wrong for command in found if (wrong := complaint(shlex.join(command)))] == []


# That the tests above can fail.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("    make repro    # from nothing", ["make repro"]),
        ("    $ python pipeline.py audit video x", ["python pipeline.py audit video x"]),
        ("```\ndvc pull\n```\nmake no difference", ["dvc pull"]),
        ("so run `dvc\nmetrics show`, or `python -m benchmarks.<name>`", ["dvc metrics show"]),
        ("      VQCAST_PROCESSES=2 RAY_ADDRESS=a:1 dvc repro sample", ["dvc repro sample"]),
        ("    git clone x && cd x && make .venv/.installed", ["make .venv/.installed"]),
        ("    python pipeline.py run & wait $!", ["python pipeline.py run"]),
        ("    export A=$(b); dvc push", ["dvc push"]),
        ('    ExecStart=/srv/.venv/bin/python pipeline.py serve --cron "0 3 * * *"',
         ["python pipeline.py serve --cron '0 3 * * *'"]),
        ("    srun torchrun --nnodes 2 \\\n        -m stages.clip", ["torchrun --nnodes 2 -m stages.clip"]),
        ("    prefect worker start --pool $(hostname)", ["prefect worker start --pool host"]),
        ("    it's what one had to make, and dvc repro to run", []),
        ("Nobody has to make repro by hand.", []),
    ],
)  # fmt: skip
def test_commands_are_found_in_a_text(text, found):
    assert commands(text) == found


@pytest.mark.parametrize(
    "command",
    [
        "python pipeline.py rum",
        "python pipeline.py run train_vqvea",
        "python pipeline.py predict",
        "python pipeline.py predict a.mov --begin 3",
        "python pipeline.py audit video",
        "python pipelines.py run",
        "python -m stages.encode --clips data/clips",
        "python -m stages.encoder",
        "python -m benchmarks.scale --video 3 --fast",
        "python -m benchmarks.sampling --fast",
        "torchrun --nodes 2 -m stages.train_top_prior",
        "torchrun --nnodes 2 -m stages.train_top_prior --latents data/latents",
        "make reproduction",
        "dvc reproduce",
        "dvc repro train_vqvea",
        "dvc repro --only download",
        "prefect work-pool make cluster",
        "prefect worker start --pools slurm",
    ],
)
def test_a_command_that_does_not_parse_is_caught(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert commands(f"    {command}") == [command]
    assert complaint(command)


@pytest.mark.parametrize(
    "target",
    ["docs/none.md", "#no-such-heading", "docs/paper.md#no-heading", "docs/none.png", "../x.md", "/x.md"],
)
def test_a_dead_link_is_caught(target):
    text = f"# A\n\n    # no such heading\n\n[one](docs/paper.md#tables), [two](#a), ![three]({target})"
    assert dead_links(ROOT / "README.md", text) == [target]


def test_headings_are_named_as_github_names_them():
    text = "# I3D's `weights`, all\n## Two  b\n## One\n## One\n```\n# code\n```\n### A_b [c](d.md) - e"
    assert anchors(text) == {"i3ds-weights-all", "two--b", "one", "one-1", "a_b-c---e"}


def test_a_file_that_is_not_there_is_caught():
    text = "`vqcast/video/store.py`, `vqcast/errors.py`, requirements.tx.txt, requirements.txt, x/tests/a.py."
    assert absent_files(text) == ["requirements.tx.txt", "vqcast/video/store.py"]
