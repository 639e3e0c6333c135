"""The house has floors: a package imports only from floors below its own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up. Packages of one floor do not import each other.
FLOORS = (
    ("errors",),
    ("work", "settings"),
    ("media", "web", "embedded"),
    ("sources",),
    ("networks", "clips"),
    ("codes", "features"),
    ("sampling", "training", "measures"),
    ("metrics",),
    ("page", "prediction", "rating", "lineage"),
    ("flow",),
    ("retraining",),
)
LOOSE = {"__init__.py", "errors.py"}  # the package itself; the one exception that everything raises
MOST_LINES, MOST_MODULES = 350, 16


def arrows_up(root: Path) -> list[str]:
    """`module imports module` for every import that does not lead to a lower floor or its own package."""
    floor = {package: number for number, floor in enumerate(FLOORS) for package in floor}
    wrong = []
    for path in sorted((root / "vqcast").rglob("*.py")):
        package = path.relative_to(root / "vqcast").parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        for name in imports_of(path):
            top, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if top != "vqcast" or (package != other and not floor[other] < floor[package]):
                wrong.append(f"{path.relative_to(root).as_posix()} imports {name}")
    return wrong


def imports_of(path: Path) -> Iterator[str]:
    """Dotted modules of this repository that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "vqcast":
            names = [f"vqcast.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in ("vqcast", "stages"))


def circles(root: Path) -> list[str]:
    """Modules that import each other, directly or not, when they are loaded or later."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in (root / "vqcast").rglob("*.py")
        if path.name != "__init__.py"
    }
    reached = {}
    for name, path in modules.items():
        names = {*imports_of(path), *names_from_packages(path)}
        reached[name] = {other for other in names if other in modules}
    for through in modules:
        for name in modules:
            if through in reached[name]:
                reached[name] = reached[name] | reached[through]
    return sorted(name for name in modules if name in reached[name])


def names_from_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_package_stands_on_one_floor_and_little_is_loose():
    folders = {path.name for path in (ROOT / "vqcast").iterdir() if (path / "__init__.py").is_file()}
    assert folders | {"errors"} == {package for floor in FLOORS for package in floor}
    assert {path.name for path in (ROOT / "vqcast").glob("*.py")} == LOOSE


def test_packages_import_only_from_floors_below_them():
    assert arrows_up(ROOT) == []


def test_no_modules_import_each_other():
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vqcast/codes/latents.py", "from vqcast.sampling.store import Samples"),
        ("vqcast/codes/latents.py", "import vqcast.sampling.store"),
        ("vqcast/work/files.py", "def late():\n    from vqcast.flow import dag"),
        ("vqcast/page/verdict.py", "from vqcast.rating import results"),
        ("vqcast/errors.py", "from vqcast.work.files import appearing"),
        ("vqcast/training/loop.py", "from stages.encode import main"),
    ],
)
def test_an_arrow_that_does_not_lead_down_is_named_with_module_and_import(tmp_path, module, line):
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(line)
    [wrong] = arrows_up(tmp_path)
    assert re.fullmatch(rf"{module} imports (vqcast|stages)\.\w+(\.\w+)*", wrong)


def test_a_circle_is_found_through_modules_between(tmp_path):
    package = tmp_path / "vqcast" / "work"
    package.mkdir(parents=True)
    (package / "one.py").write_text("from vqcast.work.two import x")
    (package / "two.py").write_text("def late():\n    from vqcast.work import three")
    (package / "three.py").write_text("import vqcast.work.one")
    (package / "four.py").write_text("import vqcast.work.one")
    assert circles(tmp_path) == ["vqcast.work.one", "vqcast.work.three", "vqcast.work.two"]


def test_the_readme_shows_the_floors_in_their_order():
    """README's map of the code lists the packages from the ground up."""
    listed = re.findall(r"^      (\w+)/ ", (ROOT / "README.md").read_text(), re.MULTILINE)
    order = [package for floor in FLOORS[1:] for package in floor]
    assert listed == order


def test_no_file_is_too_long_and_no_package_too_full():
    for path in [
        *ROOT.glob("*.py"),
        *(p for room in ("vqcast", "stages") for p in (ROOT / room).rglob("*.py")),
    ]:
        assert len(path.read_text().splitlines()) <= MOST_LINES, path
    for folder in (path for path in (ROOT / "vqcast").rglob("*") if path.is_dir()):
        assert len(list(folder.glob("*.py"))) <= MOST_MODULES, folder
