"""Which windows the page shows, by a stated rule: nobody picks them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SAMPLE = 0  # the sample of each window by which it is ranked
KINDS = ("Best", "Typical", "Worst")


@dataclass(frozen=True)
class Shown:
    """One window of the gallery."""

    kind: str  # one of KINDS
    rank: int  # from 1, the best predicted
    number: int  # of the predicted validation windows
    psnr: dict[str, float]  # by system, dB


@dataclass(frozen=True)
class Choice:
    """The windows that are shown, and out of which."""

    shown: list[Shown]
    ranked: int  # windows out of which they were taken
    moving: bool  # whether those are the windows that move
    withheld: int  # windows whose licence does not allow it
    windows: int  # all predicted validation windows


def pick_windows(rows: list[dict], videos: Sequence[str], allowed: Sequence[bool], each: int) -> Choice:
    """`each` windows of every kind: the best, the typical (around the median) and the worst predicted.

    They are ranked by the PSNR of sample 0 among the windows that move, or among all if none does, as far as
    they may be shown; no video is shown twice. rows: the table of scored windows. videos: whose window each
    is. allowed: whether it may be shown.
    """
    may = [number for number in range(len(rows)) if allowed[number]]
    ranked = _ranked(rows, may)
    walks = {"Best": iter(range(len(ranked))), "Worst": reversed(range(len(ranked)))}
    walks["Typical"] = _from_the_middle(len(ranked))
    taken: dict[int, str] = {}
    seen: set[str] = set()
    for _ in range(each):
        for kind, walk in walks.items():
            place = next((place for place in walk if videos[ranked[place]] not in seen), None)
            if place is not None:
                taken[place] = kind
                seen.add(videos[ranked[place]])
    shown = [
        Shown(kind, place + 1, ranked[place], _psnr(rows[ranked[place]]))
        for place, kind in sorted(taken.items(), key=lambda item: (KINDS.index(item[1]), item[0]))
    ]
    moving = any(rows[number]["moving"] for number in ranked)
    return Choice(shown, len(ranked), moving, len(rows) - len(may), len(rows))


def pick_typical(rows: list[dict]) -> int:
    """The number of the window whose score is the median of those that move, whatever its licence."""
    ranked = _ranked(rows, range(len(rows)))
    return ranked[(len(ranked) - 1) // 2]


def _ranked(rows: list[dict], numbers: Sequence[int]) -> list[int]:
    """Those of `numbers` that move, or all if none does, the best predicted first; on which settings were
    chosen only where there are no others."""
    judged = [number for number in numbers if not rows[number]["tuning"]] or numbers
    moving = [number for number in judged if rows[number]["moving"]]
    return sorted(moving or judged, key=lambda number: (-rows[number]["model_psnr"][SAMPLE], number))


def _from_the_middle(count: int) -> Iterator[int]:
    """All places from the median one outwards."""
    middle = (count - 1) // 2
    return iter(sorted(range(count), key=lambda place: (abs(place - middle), place)))


def rule(choice: Choice, licences: Sequence[str]) -> list[str]:
    """How the windows were chosen, in sentences; where none may be shown, the one that says so."""
    listed = ", ".join(licences) or "none"
    if not choice.shown:
        return [
            f"No prediction is shown: none of the {choice.windows} validation windows is of a clip whose "
            f"licence is one of report.licences in params.yaml ({listed})."
        ]
    ranks = f"{choice.ranked} windows" if choice.ranked > 1 else "one window"
    kind = " that move and" if choice.moving else ""
    said = [
        f"The {ranks}{kind} that may be shown were ranked by the PSNR of prediction 1. Here are the best, "
        "those in the middle and the worst of them, no video twice; nobody picked them."
    ]
    if choice.withheld:
        said.append(
            f"{choice.withheld} of all {choice.windows} validation windows may not be shown and were not "
            f"ranked here: their licence is unknown, or not one of report.licences ({listed})."
        )
    return said


def _psnr(row: dict) -> dict[str, float]:
    return {
        "model": row["model_psnr"][SAMPLE],
        "reconstruction": row["reconstruction_psnr"],
        "repeat_last_frame": row["repeat_last_frame_psnr"],
    }
