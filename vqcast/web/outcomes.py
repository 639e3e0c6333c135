"""What became of each video, in one word; `reason` in its row says it in full."""

from collections import Counter
from collections.abc import Sequence

OUTCOMES = {
    "ok": "it is in the store",
    "removed": "it is no longer where it was",
    "private": "it may not be read",
    "age": "it is shown to those only who prove their age",
    "region": "it is not shown in this part of the world",
    "rate-limited": "the server wants fewer requests",
    "network": "the connection failed",
    "no-video": "what came is no video",
    "too-short": "it ends before the segment that is wanted",
    "corrupt": "it is damaged",
    "refused": "it is hostile: it would be written elsewhere, or would fill the disk",
    "absent": "it is listed, but nowhere to be found",
    "held-out": "it must not be trained on, for it is judged on",
    "excluded": "exclude.csv takes it out",
}
TRANSIENT = frozenset({"rate-limited", "network"})  # a later run tries again
LABELS_SHOWN = 3


class FetchError(Exception):
    """A video, or all that a request holds, cannot be had; its text is the reason in the row."""

    def __init__(self, outcome: str, reason: str):
        super().__init__(outcome, reason)  # both, so that it can be pickled
        self.outcome = outcome  # one of OUTCOMES
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def shortfall(rows: Sequence[dict]) -> str:
    """A short table of the videos that are not there, by outcome and label; "" if all are."""
    missing = [row for row in rows if row["outcome"] != "ok"]
    if not missing:
        return ""
    of_label = Counter(row["label"] for row in rows)
    lines = [f"{len(rows) - len(missing)} of {len(rows)} videos are here. Those that are not:", ""]
    lines.append(f"{'outcome':<14}{'videos':>8}  labels that lack the most, of all their videos")
    for outcome, count in Counter(row["outcome"] for row in missing).most_common():
        labels = Counter(row["label"] for row in missing if row["outcome"] == outcome)
        most = sorted(labels, key=lambda label: (-labels[label], str(label)))
        parts = [
            f"{label if label is not None else '(no label)'} {labels[label]}/{of_label[label]}"
            for label in most[:LABELS_SHOWN]
        ]
        more = f", {len(most) - LABELS_SHOWN} more labels" if len(most) > LABELS_SHOWN else ""
        lines.append(f"{outcome:<14}{count:>8}  {', '.join(parts)}{more}")
    lost = Counter(row["label"] for row in missing)
    empty = sorted(str(label) for label, count in lost.items() if count == of_label[label])
    if empty:
        more = f", {len(empty) - LABELS_SHOWN} more" if len(empty) > LABELS_SHOWN else ""
        lines += ["", f"labels without a single video: {', '.join(empty[:LABELS_SHOWN])}{more}"]
    later = sum(row["outcome"] in TRANSIENT for row in missing)
    if later:
        lines += ["", f"{later} may be had later: dvc repro --force --single-item download"]
    return "\n".join(lines)
