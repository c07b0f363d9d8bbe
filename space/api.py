"""The routes of the study on the app's own FastAPI, beside Gradio and never through its queue. Needs no torch."""

import asyncio
import dataclasses
from typing import Annotated, Any, Literal

import fastapi
import pydantic
from fastapi import responses

from bench import opinions, records, standings
from space import results, study, trials

PRIVATE = {"cache-control": "no-store", "x-robots-tag": "noindex"}
LARGEST_BODY = 4096  # bytes: what `keepalive` may carry safely, and more than any answer needs

Token = Annotated[str, pydantic.Field(max_length=200)]
Name = Annotated[str, pydantic.Field(max_length=40)]
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


class Rating(Body):
    """An answer; trial and attempt are the key that makes a repeat harmless."""

    trial_id: Name
    attempt: Literal[0, 1]
    choice: Name
    decision_ms: int
    input: Name
    viewport_width: int
    viewport_height: int
    pixel_ratio: float


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


def add_to(app: fastapi.FastAPI, ranked: results.Results, *, prefix: str = "/study") -> None:
    """Add the routes; to be called before Gradio's pages are mounted, which swallow what follows.

    Args:
        app: The app.
        ranked: Holds the study, and ranks its models.
        prefix: Start of every path.
    """
    router = fastapi.APIRouter(prefix=prefix, default_response_class=Private)
    studies = ranked.studies

    def document() -> dict[str, Any]:
        running()
        return ranked.document() or {}

    def running() -> study.Study:
        found = studies.find()
        if found is None:
            studies.start()
            raise fastapi.HTTPException(503, "The pictures are being prepared; try again in a minute.")
        return found

    @router.get("/about")
    def about() -> Any:
        return {"protocol": studies.protocol, "ready": studies.find() is not None}

    @router.post("/join")
    def join(_: Joining, request: fastapi.Request) -> Any:
        token, code = running().join(address=request.client.host if request.client else "")
        return {"token": token, "code": code, "protocol": studies.protocol}

    @router.post("/session")
    def sit(body: Sitting) -> Any:
        return running().sit(body.token, language=body.language)

    @router.post("/trial")
    def show(body: Showing) -> Any:
        return dataclasses.asdict(running().trial(body.token, body.session_id, body.number))

    @router.post("/rating")
    async def rate(body: Rating) -> Any:
        answer = trials.Answer(**body.model_dump(exclude={"token", "trial_id"}))
        saved = await asyncio.wrap_future(running().rate(body.token, body.trial_id, answer))
        return dataclasses.asdict(saved)

    @router.post("/undo")
    def undo(body: Undoing) -> Any:
        return {"attempt": running().undo(body.token, body.trial_id)}

    @router.post("/scales")
    def scale(body: Scales) -> Any:
        first, second, third = body.marks
        return {"saved": running().scale(body.token, body.trial_id, (first, second, third))}

    @router.post("/finish")
    def finish(body: Body) -> Any:
        return running().finish(body.token)

    @router.post("/withdraw")
    def withdraw(body: Withdrawal) -> Any:
        return {"deleted": running().withdraw(body.code)}

    @router.get("/picture/{token}")
    def picture(token: str) -> Any:
        content = running().picture(token)
        if content is None:
            raise fastapi.HTTPException(404, "There is no such picture.")
        return fastapi.Response(content, media_type="image/png", headers=PRIVATE)

    @router.get("/standings.json")
    def as_json() -> Any:
        return fastapi.Response(standings.to_json(document()), media_type="application/json", headers=PRIVATE)

    @router.get("/standings.csv")
    def as_csv() -> Any:
        return fastapi.Response(opinions.csv(document()), media_type="text/csv", headers=PRIVATE)

    app.add_exception_handler(records.RecordError, explain)
    app.include_router(router)
    app.add_middleware(SmallBodies, prefix=prefix)


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
            if chunked or not length.isdigit() or int(length) > LARGEST_BODY:
                sentence = f"A request has {LARGEST_BODY} bytes at most."
                await Private({"detail": sentence}, 413)(scope, receive, send)
                return
        await self.app(scope, receive, send)
