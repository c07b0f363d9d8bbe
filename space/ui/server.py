"""Serve the pages, one per language, from one process; torch is loaded once it listens."""

import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from fastapi import responses

from space import api, convert, host, results
from space.ui import demo, text, translate

logger = logging.getLogger(__name__)

# The page talks to its own host only; Hugging Face may show it in a frame.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SafeHeaders:
    """Middleware that adds `HEADERS` to every answer, streams included."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class Server(uvicorn.Server):
    """A server that loads the models after its port is open, not before."""

    def __init__(self, config: uvicorn.Config, studies: host.Host) -> None:
        super().__init__(config)
        self.studies = studies

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then load torch in the background."""
        await super().startup(sockets)
        if self.started:
            logger.info("Nijigen is at http://%s:%d", self.config.host, self.config.port)
            convert.warm()
            if self.studies.folder is not None:
                self.studies.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, then finish writing the ratings."""
        await super().shutdown(sockets)
        self.studies.close()


def build_app(studies: host.Host | None = None) -> fastapi.FastAPI:
    """Put the pages of all languages under one roof: English at /, the others at their own paths.

    Args:
        studies: Holds the study of the Rate tab; the environment's by default.
    """
    app = fastapi.FastAPI(title="Nijigen", docs_url=None, redoc_url=None, openapi_url=None)
    ranked = results.Results(studies or host.from_environment())
    api.add_to(app, ranked)
    for language in sorted(text.PATHS, key=text.PATHS.__getitem__, reverse=True):  # the root swallows what follows it
        if text.PATHS[language]:
            app.add_route(f"/{text.PATHS[language]}", _to_folder)
        gr.mount_gradio_app(
            app,
            demo.build_demo(language, ranked),
            f"/{text.PATHS[language]}",
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=translate.MAX_BYTES,
            allowed_paths=[],
            theme=demo.theme(),
            css_paths=demo.STYLE,
            head=demo.head(language),
        )
    app.add_middleware(SafeHeaders)
    return app


def _to_folder(request: fastapi.Request) -> responses.Response:
    return responses.RedirectResponse(f"{request.url.path.rpartition('/')[2]}/")


def serve(*, address: str, port: int) -> None:
    """Serve until interrupted."""
    studies = host.from_environment()
    Server(uvicorn.Config(build_app(studies), host=address, port=port, log_level="warning"), studies).run()
