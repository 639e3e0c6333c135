"""The import closure decides what is rebuilt, so nothing that an import executes may escape it."""

from pathlib import Path

import pytest

from tests.dag import settings_read
from vqcast.work.code import import_closure


def project(root: Path, **modules: str) -> Path:
    """Write `modules` (`vqcast__clips__clips` is vqcast/clips/clips.py) and every package's __init__.py."""
    for name, source in modules.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()
    return root


def closure(root: Path) -> list[str]:
    return [path.as_posix() for path in import_closure(root / "stages" / "clip.py", root)]


def test_closure_follows_imports_of_imports(tmp_path):
    root = project(
        tmp_path,
        stages__clip="from vqcast import first",
        vqcast__first="import vqcast.second",
        vqcast__second="import json",
        vqcast__unused="",
    )
    assert closure(root) == [
        "stages/__init__.py",
        "stages/clip.py",
        "vqcast/__init__.py",
        "vqcast/first.py",
        "vqcast/second.py",
    ]


def test_closure_holds_the_packages_on_the_way_to_a_module(tmp_path):
    root = project(
        tmp_path,
        stages__clip="from vqcast.clips.clips import Clips",
        vqcast__clips__clips="Clips = 1",
    )
    assert "vqcast/clips/__init__.py" in closure(root)


def test_closure_follows_packages_without_an_init(tmp_path):
    root = project(tmp_path, stages__clip="import vqcast.clips", vqcast__clips="")
    (root / "vqcast" / "__init__.py").unlink()
    (root / "stages" / "__init__.py").unlink()
    assert closure(root) == ["stages/clip.py", "vqcast/clips.py"]


def test_closure_sees_imports_inside_functions(tmp_path):
    root = project(
        tmp_path,
        stages__clip="def main():\n    from vqcast.late import work\n    work()",
        vqcast__late="def work(): pass",
    )
    assert "vqcast/late.py" in closure(root)


def test_closure_ends_where_modules_import_each_other(tmp_path):
    root = project(
        tmp_path,
        stages__clip="import vqcast.one",
        vqcast__one="import vqcast.other",
        vqcast__other="import vqcast.one",
    )
    assert {"vqcast/one.py", "vqcast/other.py"} < set(closure(root))


def test_closure_refuses_relative_imports_which_it_does_not_follow(tmp_path):
    root = project(tmp_path, stages__clip="from . import download", stages__download="")
    with pytest.raises(ValueError, match="relative imports"):
        closure(root)


def test_sections_that_a_stage_reads_are_those_it_takes_from_settings(tmp_path):
    module = tmp_path / "stage.py"
    module.write_text("settings = load_settings()\nwork(settings.clip.resolution, settings.window)")
    assert settings_read(module) == {"clip.resolution", "window"}


def test_a_stage_that_passes_the_whole_settings_on_is_refused(tmp_path):
    module = tmp_path / "stage.py"
    module.write_text("settings = load_settings()\nwork(settings, settings.window)")
    with pytest.raises(ValueError, match="passes the whole settings on"):
        settings_read(module)
