"""Which modules of this repository a module imports, directly or not, read from its source."""

import ast
from pathlib import Path

PACKAGES = ("vqcast", "stages")


def import_closure(module: Path, root: Path) -> list[Path]:
    """Sorted paths, relative to `root`, of `module` and all it imports from this repository.

    A package's `__init__.py` counts as imported with any of its modules, `module` itself included.
    """
    root = root.resolve()
    found: set[Path] = set()
    module = module.resolve()
    waiting = [module, *_files_of(".".join(module.relative_to(root).with_suffix("").parts), root)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imported_names(ast.parse(path.read_text())):
            waiting.extend(_files_of(name, root))
    return sorted(path.relative_to(root) for path in found)


def _imported_names(tree: ast.Module) -> list[str]:
    """Dotted names that a module's import statements may bind, wherever they stand in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("relative imports are not used in this repository")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in PACKAGES]


def _files_of(name: str, root: Path) -> list[Path]:
    """Files that importing dotted `name` executes; its last part may be a plain attribute."""
    files = []
    folder = root
    for part in name.split("."):
        if (folder / f"{part}.py").is_file():
            return [*files, folder / f"{part}.py"]
        folder = folder / part
        if not folder.is_dir():
            return files
        if (folder / "__init__.py").is_file():
            files.append(folder / "__init__.py")
    return files
