"""What `pipeline.py rate` does: open the study, serve it on loopback until it is ended."""

import socket
from dataclasses import dataclass

import uvicorn

from vqcast.errors import VqcastError
from vqcast.rating import results
from vqcast.rating.pairs import Comparison
from vqcast.rating.server import LOOPBACK, Progress, Study, make_app
from vqcast.rating.store import AnswerFile
from vqcast.rating.systems import System
from vqcast.settings.params import load_settings
from vqcast.work.files import appearing


@dataclass(frozen=True)
class Rating:
    """The command line of `pipeline.py rate`."""

    a: str
    b: str
    answers: str
    videos: int
    judgements: int  # of every video
    raters: int
    fps: float
    clips: str  # folder of clip shards, which may be missing
    manifest: str
    csv: str | None
    host: str
    port: int

    def __post_init__(self):
        for name in ("videos", "judgements", "raters", "fps"):
            if not 0 < getattr(self, name) <= 10**6:
                raise VqcastError(f"--{name} must be greater than 0 and at most a million")
        if not 0 <= self.port < 2**16:
            raise VqcastError(f"--port must lie in 0..65535, not {self.port}")
        if self.raters < self.judgements:
            raise VqcastError(
                f"--judgements {self.judgements} of every video need as many --raters, not {self.raters}"
            )


def rate(rating: Rating) -> None:
    """Serve the study, or write its answers so far as CSV; raises VqcastError."""
    settings = load_settings()
    a, b = (System(folder, settings.window, settings.clip) for folder in (rating.a, rating.b))
    comparison = Comparison(a, b, rating.clips, rating.manifest, rating.videos)
    windows = [(pair.window, pair.label) for pair in comparison.pairs]
    answers = AnswerFile(rating.answers, comparison.fingerprint, windows)
    study = Study(rating.a, rating.b, comparison, rating.judgements, rating.fps)
    if rating.csv is not None:
        _export(rating.csv, study, answers)
        return
    listener = _listen(rating.host, rating.port)
    address = f"http://{_in_url(rating.host)}:{listener.getsockname()[1]}"
    hosts = [*LOOPBACK, rating.host] if rating.host not in ("0.0.0.0", "::") else ["*"]
    config = uvicorn.Config(make_app(study, answers, hosts), log_level="warning", access_log=False)
    config.load()  # before raters are told where it is
    _announce(rating, study, answers, address)
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def _export(path: str, study: Study, answers: AnswerFile) -> None:
    judgements = answers.judgements()
    with appearing(path) as partial:
        partial.write_text(results.to_csv(judgements))
    print(f"{path}: {len(judgements)} judgements")
    total = results.shares(judgements)
    print(results.verdict(total, study.a, study.b))
    for choice, name in (
        ("a", f"prefer {study.a}"),
        ("b", f"prefer {study.b}"),
        ("tie", "too close to tell"),
    ):
        if total is not None:
            share = total.by_choice[choice]
            interval = "" if share.low is None else f" (95%: {share.low:.1%} to {share.high:.1%})"
            print(f"{share.share:6.1%} {name}{interval}")


def _announce(rating: Rating, study: Study, answers: AnswerFile, address: str) -> None:
    pairs = study.comparison.pairs
    given = {pair.given for pair in pairs}
    shown = "their predicted frames alone" if given == {0} else "the given frames and the predicted ones"
    print(f"A is {rating.a}, B is {rating.b}: {len(pairs)} of {study.comparison.in_common} windows, {shown}.")
    progress = Progress.of(answers.counts(), rating.judgements)
    print(f"{answers.path} holds {progress.judgements} of the {progress.wanted} judgements that it takes.")
    print(f"Raters go to {address}/ with one of these codes:")
    codes = answers.raters(rating.raters)
    for first in range(0, len(codes), 8):
        print("  " + "  ".join(codes[first : first + 8]))
    print(f"Results: {address}/results?key={answers.key}")
    print("Ctrl-C ends it; the same command goes on from there.", flush=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        raise VqcastError(f"nothing can be served at {host}, port {port}: {error.strerror}") from None
    return listener


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
