"""Answers of a study in one SQLite file: each is on the disk before its rater is told that it was taken."""

import contextlib
import random
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError

ANSWERS = ("left", "right", "tie")
SIDES = ("left", "right")
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another

SCHEMA = """
CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE raters (code TEXT PRIMARY KEY) STRICT;
CREATE TABLE pairs (pair INTEGER PRIMARY KEY, window TEXT NOT NULL UNIQUE, label TEXT) STRICT;
CREATE TABLE showings (
    token TEXT PRIMARY KEY,
    rater TEXT NOT NULL REFERENCES raters,
    pair INTEGER NOT NULL REFERENCES pairs,
    a_side TEXT NOT NULL CHECK (a_side IN ('left', 'right')),
    shown REAL NOT NULL, -- seconds since 1970
    UNIQUE (rater, pair)
) STRICT;
CREATE TABLE judgements (
    token TEXT PRIMARY KEY REFERENCES showings,
    answer TEXT NOT NULL CHECK (answer IN ('left', 'right', 'tie')),
    judged REAL NOT NULL -- seconds since 1970
) STRICT;
"""


class RefusedError(Exception):
    """An answer that is not taken; its text says why, and nothing has changed."""


@dataclass(frozen=True)
class Showing:
    """One comparison as one rater sees it."""

    token: str  # nobody can guess it
    pair: int
    a_side: str  # one of SIDES

    def system(self, side: str) -> str:
        """Which system, "a" or "b", is on a side."""
        return "a" if side == self.a_side else "b"


@dataclass(frozen=True)
class Judgement:
    rater: str
    window: str
    label: str | None
    answer: str  # "a", "b" or "tie"
    a_side: str
    shown: float  # seconds since 1970
    judged: float


class AnswerFile:
    """The file of one study. Threads may share it, and so may processes: each change is one transaction."""

    def __init__(self, path: str | Path, fingerprint: str, pairs: Sequence[tuple[str, str | None]]):
        """Open the file, or begin it with the (window, label) of every pair.

        fingerprint: of what is compared. Raises VqcastError if the file is of something else.
        """
        self.path = Path(path)
        self._lock = threading.RLock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Without WAL, the file is all there is: to copy it is to copy the study.
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                if not self._one("SELECT count(*) FROM sqlite_master"):
                    self._begin(fingerprint, pairs)
            found = self._one("SELECT value FROM study WHERE name = 'fingerprint'")
            self.key: str = self._one("SELECT value FROM study WHERE name = 'key'")
        except sqlite3.Error as error:
            raise VqcastError(
                f"{path} is no file of answers ({error}); name another with --answers"
            ) from None
        if found != fingerprint:
            raise VqcastError(
                f"{path} holds the answers to another comparison; name another file with --answers, "
                "or compare what it was begun with"
            )

    def raters(self, least: int = 0) -> list[str]:
        """The codes of all raters; new ones are made until there are at least `least`."""
        with self._transaction():
            codes = self._column("SELECT code FROM raters ORDER BY rowid")
            while len(codes) < least:
                codes.append(_random_code(6))
                self._db.execute("INSERT INTO raters VALUES (?)", [codes[-1]])
        return codes

    def is_rater(self, code: str) -> bool:
        with self._lock:
            return bool(self._one("SELECT count(*) FROM raters WHERE code = ?", code))

    def showing(self, rater: str, needed: int) -> Showing | None:
        """What a rater is to judge now; None when no pair that lacks judgements is left for this rater.

        needed: judgements of every pair. What was shown and not judged is shown again, sides as they were.
        """
        with self._transaction():
            counts = self._counts()
            lacking = {pair for pair, count in counts.items() if count < needed}
            open_ = self._rows(
                "SELECT token, pair, a_side FROM showings LEFT JOIN judgements USING (token) "
                "WHERE rater = ? AND answer IS NULL",
                rater,
            )
            if open_ and open_[0][1] in lacking:
                return Showing(*open_[0])
            self._db.executemany("DELETE FROM showings WHERE token = ?", [(row[0],) for row in open_])
            seen = set(self._column("SELECT pair FROM showings WHERE rater = ?", rater))
            if not lacking - seen:
                return None
            # The order is random, but for this: what has the fewest judgements comes first.
            pair = min(lacking - seen, key=lambda pair: (counts[pair], random.random()))
            showing = Showing(secrets.token_urlsafe(16), pair, self._side(rater, pair))
            row = (showing.token, rater, pair, showing.a_side, time.time())
            self._db.execute("INSERT INTO showings VALUES (?, ?, ?, ?, ?)", row)
        return showing

    def find_showing(self, token: str) -> Showing | None:
        with self._lock:
            rows = self._rows("SELECT token, pair, a_side FROM showings WHERE token = ?", token)
        return Showing(*rows[0]) if rows else None

    def judge(self, rater: str, token: str, answer: str) -> None:
        """Keep an answer; the same one again changes nothing. Raises RefusedError."""
        if answer not in ANSWERS:
            raise RefusedError("There is no such answer.")
        with self._transaction():
            shown_to = self._one("SELECT rater FROM showings WHERE token = ?", token)
            if shown_to != rater:
                raise RefusedError("This comparison was not shown to you.")
            before = self._one("SELECT answer FROM judgements WHERE token = ?", token)
            if before is None:
                self._db.execute("INSERT INTO judgements VALUES (?, ?, ?)", (token, answer, time.time()))
            elif before != answer:
                raise RefusedError("You have judged this comparison already.")

    def judged_by(self, rater: str) -> int:
        with self._lock:
            return self._one(
                "SELECT count(*) FROM judgements JOIN showings USING (token) WHERE rater = ?", rater
            )

    def counts(self) -> list[int]:
        """How many judgements each pair has."""
        with self._lock:
            return list(self._counts().values())

    def judgements(self) -> list[Judgement]:
        """All of them, in the order in which they came."""
        with self._lock:
            rows = self._rows(
                "SELECT rater, window, label, answer, a_side, shown, judged FROM judgements "
                "JOIN showings USING (token) JOIN pairs USING (pair) ORDER BY judgements.rowid"
            )
        return [
            Judgement(rater, window, label, _system(answer, a_side), a_side, shown, judged)
            for rater, window, label, answer, a_side, shown, judged in rows
        ]

    def _begin(self, fingerprint: str, pairs: Sequence[tuple[str, str | None]]) -> None:
        for statement in SCHEMA.split(";\n"):
            self._db.execute(statement)
        study = [("fingerprint", fingerprint), ("key", _random_code(16))]
        self._db.executemany("INSERT INTO study VALUES (?, ?)", study)
        rows = [(number, window, label) for number, (window, label) in enumerate(pairs)]
        self._db.executemany("INSERT INTO pairs VALUES (?, ?, ?)", rows)

    def _side(self, rater: str, pair: int) -> str:
        """Where A stands: where it stood less often for this pair; else by chance, unless that has put it on
        one side for this rater twice more than on the other."""
        for column, value, least in (("pair", pair, 1), ("rater", rater, 2)):
            sides = self._column(f"SELECT a_side FROM showings WHERE {column} = ?", value)
            surplus = 2 * sides.count("left") - len(sides)
            if abs(surplus) >= least:
                return "right" if surplus > 0 else "left"
        return random.choice(SIDES)

    def _counts(self) -> dict[int, int]:
        return dict(
            self._rows(
                "SELECT pair, count(answer) FROM pairs LEFT JOIN showings USING (pair) "
                "LEFT JOIN judgements USING (token) GROUP BY pair ORDER BY pair"
            )
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it is on the disk when this ends, or none of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple]:
        return self._db.execute(query, values).fetchall()

    def _column(self, query: str, *values: object) -> list:
        return [row[0] for row in self._rows(query, *values)]

    def _one(self, query: str, *values: object):
        """The first value of the first row; None if there is no row."""
        row = self._db.execute(query, values).fetchone()
        return None if row is None else row[0]


def _random_code(length: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def _system(answer: str, a_side: str) -> str:
    return answer if answer == "tie" else "a" if answer == a_side else "b"
