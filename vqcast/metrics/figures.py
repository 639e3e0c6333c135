"""The figures that the stage `evaluate` writes, for those who compare and show them."""

import json
from pathlib import Path

from vqcast.errors import VqcastError

METRICS = "reports/evaluate.json"


def read_figures(root: Path) -> dict:
    """The content of reports/evaluate.json below `root`; VqcastError if it is missing or damaged."""
    try:
        return json.loads((root / METRICS).read_text())
    except (OSError, ValueError):
        raise VqcastError(f"{METRICS} is missing or damaged") from None


def numbers(figures: object, name: str = "") -> dict[str, float]:
    """The numbers in a tree of dicts, by their dotted names; lists, texts and the protocol are left out."""
    if isinstance(figures, dict):
        found: dict[str, float] = {}
        for key, value in figures.items():
            if key != "protocol":
                found |= numbers(value, f"{name}.{key}" if name else str(key))
        return found
    is_number = isinstance(figures, (int, float)) and not isinstance(figures, bool)
    return {name: figures} if is_number else {}
