"""The routes of the study on the app's own FastAPI, beside Gradio and never through its queue. Needs no torch."""

import asyncio
import dataclasses
from typing import Annotated, Any, Literal

import fastapi
import pydantic
from fastapi import concurrency, responses

from bench import opinions, records, standings
from space import arena, convert, results, study, trials

PRIVATE = {"cache-control": "no-store", "x-robots-tag": "noindex"}
LARGEST_BODY = 4096  # bytes: what `keepalive` may carry safely, and more than any answer needs

Token = Annotated[str, pydantic.Field(max_length=200)]
Name = Annotated[str, pydantic.Field(max_length=40)]
LARGEST_PHOTO = 25 * 2**20
Mark = Annotated[int, pydantic.Field(ge=1, le=5)]


class Body(pydantic.BaseModel):
    """What every request says: who asks."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    token: Token


class Joining(pydantic.BaseModel):
    """Somebody agreed to what the page told."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    consent: Literal[True]


class Sitting(Body):
    """Begin a session, or go on with it."""

    language: Name


class Showing(Body):
    """Ask for a trial."""

    session_id: Name
    number: Annotated[int, pydantic.Field(ge=-2, le=100)]


class Answering(pydantic.BaseModel):
    """What every answer says."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    trial_id: Name
    choice: Name
    decision_ms: int
    input: Name
    viewport_width: int
    viewport_height: int
    pixel_ratio: float


class Rating(Answering):
    """An answer in the study; trial and attempt are the key that makes a repeat harmless."""

    token: Token
    attempt: Literal[0, 1]


class ArenaRating(Answering):
    """An answer in the arena, which follows nobody."""

    language: Name


class Undoing(Body):
    """Take the last answer back."""

    trial_id: Name


class Scales(Undoing):
    """The three marks of one side."""

    marks: Annotated[list[Mark], pydantic.Field(min_length=3, max_length=3)]


class Withdrawal(pydantic.BaseModel):
    """The code that was told at the end."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    code: Name


class Routes:
    """The handlers: each checks what came in, asks the study or the arena, and answers.

    Args:
        ranked: Holds the study, and ranks its models.
    """

    def __init__(self, ranked: results.Results) -> None:
        self.ranked, self.studies = ranked, ranked.studies

    def study(self) -> study.Study:
        """Give the study that runs; 503 while its pictures are being made."""
        found = self.studies.find()
        if found is None:
            self.studies.start()
            raise fastapi.HTTPException(503, "The pictures are being prepared; try again in a minute.")
        return found

    def ring(self) -> arena.Arena:
        """Give the arena; it opens with the study."""
        self.study()
        assert self.studies.ring is not None
        return self.studies.ring

    def about(self) -> Any:
        """Name the protocol."""
        return {"protocol": self.studies.protocol, "ready": self.studies.find() is not None}

    def join(self, _: Joining, request: fastapi.Request) -> Any:
        """Take somebody in who agreed."""
        token, code = self.study().join(address=request.client.host if request.client else "")
        return {"token": token, "code": code, "protocol": self.studies.protocol}

    def session(self, body: Sitting) -> Any:
        """Begin or go on."""
        return self.study().sit(body.token, language=body.language)

    def trial(self, body: Showing) -> Any:
        """Show a pair."""
        return dataclasses.asdict(self.study().trial(body.token, body.session_id, body.number))

    async def rating(self, body: Rating) -> Any:
        """Store an answer; this returns after the commit."""
        answer = trials.Answer(**body.model_dump(exclude={"token", "trial_id"}))
        saved = await asyncio.wrap_future(self.study().rate(body.token, body.trial_id, answer))
        return dataclasses.asdict(saved)

    def undo(self, body: Undoing) -> Any:
        """Take the last answer back."""
        return {"attempt": self.study().undo(body.token, body.trial_id)}

    def scales(self, body: Scales) -> Any:
        """Store three marks."""
        first, second, third = body.marks
        return {"saved": self.study().scale(body.token, body.trial_id, (first, second, third))}

    def finish(self, body: Body) -> Any:
        """Give the own agreement."""
        return self.study().finish(body.token)

    def withdraw(self, body: Withdrawal) -> Any:
        """Delete what somebody gave."""
        return {"deleted": self.study().withdraw(body.code)}

    def picture(self, token: str) -> Any:
        """Give a picture of the study."""
        return png(self.study().picture(token))

    async def challenge(self, request: fastapi.Request) -> Any:
        """Let two hidden models draw the photo in the body."""
        ring, photo = self.ring(), await request.body()
        try:
            duel = await concurrency.run_in_threadpool(ring.open, photo)
        except convert.problems() as error:
            raise fastapi.HTTPException(400, str(error)) from error
        return {"trial_id": duel.trial_id, **dict(zip(("photo", "left", "right"), duel.tokens, strict=True))}

    def drawn(self, token: str) -> Any:
        """Give a picture of the arena."""
        return png(self.ring().picture(token))

    async def judge(self, body: ArenaRating) -> Any:
        """Store an answer in the arena, then tell the names."""
        answer = trials.Answer(**body.model_dump(exclude={"trial_id", "language"}))
        return await asyncio.wrap_future(self.ring().rate(body.trial_id, answer, language=body.language))

    def standings_json(self) -> Any:
        """Give the standings."""
        return fastapi.Response(standings.to_json(self._document()), media_type="application/json", headers=PRIVATE)

    def standings_csv(self) -> Any:
        """Give the standings as a table."""
        return fastapi.Response(opinions.csv(self._document()), media_type="text/csv", headers=PRIVATE)

    def _document(self) -> dict[str, Any]:
        self.study()
        return self.ranked.document() or {}


def add_to(app: fastapi.FastAPI, ranked: results.Results, *, prefix: str = "/study") -> None:
    """Add the routes; to be called before Gradio's pages are mounted, which swallow what follows.

    Args:
        app: The app.
        ranked: Holds the study, and ranks its models.
        prefix: Start of every path.
    """
    router = fastapi.APIRouter(prefix=prefix, default_response_class=Private)
    routes = Routes(ranked)
    steps = (routes.join, routes.session, routes.trial, routes.rating, routes.undo, routes.scales, routes.finish)
    for handler in (*steps, routes.withdraw):
        router.post(f"/{handler.__name__}")(handler)
    router.post("/arena")(routes.challenge)
    router.post("/arena/rating")(routes.judge)
    for path, handler in {
        "about": routes.about,
        "picture/{token}": routes.picture,
        "arena/{token}": routes.drawn,
        "standings.json": routes.standings_json,
        "standings.csv": routes.standings_csv,
    }.items():
        router.get(f"/{path}")(handler)
    app.add_exception_handler(records.RecordError, explain)
    app.include_router(router)
    app.add_middleware(SmallBodies, prefix=prefix)


def png(content: bytes | None) -> fastapi.Response:
    """Answer with a picture that nobody may keep, or with 404."""
    if content is None:
        raise fastapi.HTTPException(404, "There is no such picture.")
    return fastapi.Response(content, media_type="image/png", headers=PRIVATE)


class Private(responses.JSONResponse):
    """JSON that nobody may keep."""

    def __init__(self, content: Any, status_code: int = 200, **options: Any) -> None:
        super().__init__(content, status_code, **options)
        self.headers.update(PRIVATE)


def explain(_: fastapi.Request, error: Exception) -> responses.JSONResponse:
    """Answer what cannot be stored with our own sentence."""
    return Private({"detail": str(error)}, 400)


class SmallBodies:
    """Middleware that refuses large requests below a path before they are read.

    Args:
        app: What comes next.
        prefix: Start of the paths.
    """

    def __init__(self, app: Any, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer 413."""
        if scope["type"] == "http" and scope["path"].startswith(self.prefix + "/"):
            length = dict(scope["headers"]).get(b"content-length", b"0")
            chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
            largest = LARGEST_PHOTO if scope["path"] == f"{self.prefix}/arena" else LARGEST_BODY
            if chunked or not length.isdigit() or int(length) > largest:
                sentence = f"A request has {largest} bytes at most."
                await Private({"detail": sentence}, 413)(scope, receive, send)
                return
        await self.app(scope, receive, send)
