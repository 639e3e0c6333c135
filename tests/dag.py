"""What each stage of dvc.yaml must list, read from the stage's source; run as a module, it lists it there.

python -m tests.dag    rewrites the modules under every stage's `deps:` and leaves the rest alone
"""

import ast
import re
from pathlib import Path

from ruamel.yaml import YAML

from vqcast.work.code import import_closure

ROOT = Path(__file__).resolve().parents[1]


def stage_module(command: str) -> Path:
    """`stages/<name>.py`, which `command` runs; relative to the root of the repository."""
    name = re.match(r"python -m stages\.(\w+)\b", command)
    if name is None:
        raise ValueError(f"not the command of a stage: {command}")
    return Path("stages", f"{name[1]}.py")


def imported_modules(module: Path) -> list[str]:
    """Paths, as dvc.yaml lists them, of `module` and all it imports from this repository."""
    return [path.as_posix() for path in import_closure(ROOT / module, ROOT)]


def settings_read(module: Path) -> set[str]:
    """What `module` takes from the name `settings`: a section of params.yaml, or section.key.

    ValueError: the whole settings go somewhere, so that what is read of them cannot be told.
    """
    tree = ast.parse((ROOT / module).read_text())
    reads = {id(node) for node in ast.walk(tree) if _reads_settings(node)}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    accesses = [node for node in nodes if id(node.value) in reads]
    if len(accesses) < len(reads):
        raise ValueError(f"{module} passes the whole settings on; pass settings.<section>")
    keys = {id(node.value): node.attr for node in nodes}
    return {f"{access.attr}.{keys[id(access)]}" if id(access) in keys else access.attr for access in accesses}


def _reads_settings(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "settings" and isinstance(node.ctx, ast.Load)


def list_modules() -> None:
    """Bring the modules under every `deps:` of dvc.yaml up to date, in place."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    path = ROOT / "dvc.yaml"
    document = yaml.load(path)
    for stage in document["stages"].values():
        data = [dep for dep in stage["deps"] if not dep.endswith(".py")]
        stage["deps"][:] = data + imported_modules(stage_module(stage["cmd"]))
    yaml.dump(document, path)


if __name__ == "__main__":
    list_modules()
