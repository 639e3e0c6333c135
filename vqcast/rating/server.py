"""The study as a web page: what raters see, what they answer, and the results."""

import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal
from urllib.parse import urlsplit

import jinja2
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vqcast.rating import results
from vqcast.rating.pairs import Comparison
from vqcast.rating.store import AnswerFile, Judgement, RefusedError

PAGES = Path(__file__).parent / "pages"
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
HEADERS = {
    # Nothing from elsewhere, nothing that was written into a page: a script in a label stays text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses hold codes
    "Cache-Control": "no-store",
}

Code = Annotated[str, Field(max_length=64)]


class Answer(BaseModel):
    """What a rater's page sends."""

    rater: Code
    token: Code
    answer: Literal["left", "right", "tie"]


@dataclass(frozen=True)
class Study:
    """What is compared, by which names, how often, and at which pace it plays."""

    a: str
    b: str
    comparison: Comparison
    needed: int  # judgements of every video
    fps: float


@dataclass(frozen=True)
class Progress:
    """How far the study is."""

    judgements: int
    wanted: int
    videos: int
    lacking: int  # videos that need more judgements

    @classmethod
    def of(cls, counts: list[int], needed: int) -> "Progress":
        judged = sum(min(count, needed) for count in counts)
        return cls(judged, len(counts) * needed, len(counts), sum(count < needed for count in counts))


def make_app(study: Study, answers: AnswerFile, hosts: list[str]) -> FastAPI:
    """The application. hosts: names by which it may be asked; others are of a page that wants to reach it."""
    app = FastAPI(openapi_url=None)  # and so no documentation pages, which load scripts from elsewhere
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent

    def page(name: str, status: int = 200, **values: object) -> HTMLResponse:
        text = environment.get_template(f"{name}.html.j2").render(study=study, **values)
        return HTMLResponse(text, status)

    @app.middleware("http")
    async def guard(request: Request, call_next):
        origin = request.headers.get("origin")
        if request.method == "POST" and origin and urlsplit(origin).netloc != request.headers.get("host"):
            response: Response = PlainTextResponse("An answer must come from this page.", 403)
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.get("/")
    def enter() -> HTMLResponse:
        return page("enter", wrong=None)

    @app.get("/rate")
    def rate(rater: Annotated[str, Query(max_length=64)] = "") -> HTMLResponse:
        code = rater.strip().lower()
        if not answers.is_rater(code):
            return page("enter", 404, wrong=code)
        showing = answers.showing(code, study.needed)
        judged = answers.judged_by(code)
        if showing is None:
            progress = Progress.of(answers.counts(), study.needed)
            return page("done", judged=judged, progress=progress)
        pair = study.comparison.pairs[showing.pair]
        return page("compare", rater=code, showing=showing, pair=pair, judged=judged)

    @app.get("/picture/{token}/{side}")
    def picture(token: str, side: Literal["left", "right"]) -> Response:
        showing = answers.find_showing(token)
        if showing is None:
            raise HTTPException(404, "There is no such comparison.")
        png = study.comparison.pairs[showing.pair].pictures[showing.system(side)]
        return Response(png, media_type="image/png")

    @app.post("/answer")
    def answer(sent: Answer) -> dict[str, bool]:
        try:
            answers.judge(sent.rater, sent.token, sent.answer)
        except RefusedError as error:
            raise HTTPException(409, str(error)) from None
        return {"kept": True}

    @app.get("/results")
    def show_results(key: str = "") -> HTMLResponse:
        check_key(key)
        judgements = answers.judgements()
        return page(
            "results",
            key=key,
            progress=Progress.of(answers.counts(), study.needed),
            total=results.shares(judgements),
            verdict=results.verdict(results.shares(judgements), study.a, study.b),
            labels=results.shares_by_label(judgements),
            agreement=results.agreement(judgements),
            raters=_by_rater(answers.raters(), judgements),
            on_the_left=Counter(judgement.a_side for judgement in judgements)["left"],
        )

    @app.get("/results.csv")
    def export(key: str = "") -> Response:
        check_key(key)
        name = {"Content-Disposition": 'attachment; filename="judgements.csv"'}
        return Response(results.to_csv(answers.judgements()), media_type="text/csv", headers=name)

    @app.get("/style.css")
    def style() -> Response:
        return Response((PAGES / "style.css").read_text(), media_type="text/css")

    @app.get("/compare.js")
    def script() -> Response:
        return Response((PAGES / "compare.js").read_text(), media_type="text/javascript")

    def check_key(key: str) -> None:
        if not secrets.compare_digest(key.encode(), answers.key.encode()):
            raise HTTPException(403, "The results are for whoever has their key, not for raters.")

    return app


def _by_rater(codes: list[str], judgements: list[Judgement]) -> list[dict]:
    """What each rater has done: haste and a habit of one side can be seen here."""
    rows = []
    for code in codes:
        its = [judgement for judgement in judgements if judgement.rater == code]
        chosen = [judgement for judgement in its if judgement.answer != "tie"]
        left = [
            judgement for judgement in chosen if (judgement.answer == "a") == (judgement.a_side == "left")
        ]
        seconds = median(judgement.judged - judgement.shown for judgement in its) if its else None
        share = len(left) / len(chosen) if chosen else None
        rows.append({"code": code, "judged": len(its), "seconds": seconds, "left": share})
    return rows


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"
