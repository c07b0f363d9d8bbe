"""A small Hugging Face Hub in memory, for tests without a network: repositories, commits, large files, downloads.

Set HF_ENDPOINT to its address, HF_HUB_DISABLE_XET=1 and a dummy HF_TOKEN before huggingface_hub is imported.
"""

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import fastapi
import uvicorn
from fastapi import responses

LARGE = 10 * 2**20  # bytes from which a file is uploaded apart
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclasses.dataclass
class Repository:
    """One repository: its files, the commits so far, newest last, and the time of the first one."""

    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    commits: list[str] = dataclasses.field(default_factory=list)
    private: bool = False
    since: str = "2026-01-01T00:00:00.000Z"

    def commit(self) -> str:
        """Note a commit of the present files and give its name."""
        self.commits.append(hashlib.sha1(f"{len(self.commits)}{sorted(self.files)}".encode()).hexdigest())
        return self.commits[-1]


@dataclasses.dataclass
class Hub:
    """The server's memory; a test looks into it.

    Attributes:
        repositories: By kind and name, e.g. ("dataset", "owner/name").
        objects: Large files by SHA-256.
        calls: Method and path of every request.
        down: While set, every request answers 500.
    """

    address: str = ""
    repositories: dict[tuple[str, str], Repository] = dataclasses.field(default_factory=dict)
    objects: dict[str, bytes] = dataclasses.field(default_factory=dict)
    calls: list[str] = dataclasses.field(default_factory=list)
    down: bool = False

    def find(self, kind: str, name: str) -> Repository:
        """Get a repository or answer 404 the way the Hub does."""
        if (kind, name) not in self.repositories:
            raise Missing("RepoNotFound", f"Repository {name} not found")
        return self.repositories[kind, name]


class Missing(Exception):
    """Something is not there; the client tells the cases apart by a header."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Routes:
    """What the client asks for.

    Args:
        hub: The memory.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def whoami(self) -> Any:
        """Say who the token belongs to."""
        return {"name": "tester", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def validate(self) -> Any:
        """Find nothing wrong with a model card."""
        return {"errors": [], "warnings": []}

    async def create(self, request: fastapi.Request) -> Any:
        """Make a repository; 409 where it is there already."""
        body = await request.json()
        kind, name = body.get("type") or "model", f"{body.get('organization') or 'tester'}/{body['name']}"
        url = f"{self.hub.address}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.hub.repositories:
            return responses.JSONResponse({"error": "You already created this repo", "url": url}, 409)
        self.hub.repositories[kind, name] = Repository(
            private=body.get("visibility") == "private" or bool(body.get("private"))
        )
        self.hub.repositories[kind, name].commit()
        return {"url": url}

    async def preupload(self, kinds: str, owner: str, name: str, request: fastapi.Request) -> Any:
        """Tell which files go with the commit and which apart."""
        found, body = self.hub.find(KINDS[kinds], f"{owner}/{name}"), await request.json()
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                    "oid": blob_id(found.files[file["path"]]) if file["path"] in found.files else None,
                }
                for file in body["files"]
            ]
        }

    async def commit(self, kinds: str, owner: str, name: str, request: fastapi.Request) -> Any:
        """Take a commit of JSON lines."""
        found = self.hub.find(KINDS[kinds], f"{owner}/{name}")
        for line in (await request.body()).decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                found.files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                found.files.pop(value["path"], None)
        oid = found.commit()
        return {"commitOid": oid, "commitUrl": f"{self.hub.address}/{owner}/{name}/commit/{oid}", "success": True}

    async def batch(self, path: str, request: fastapi.Request) -> Any:
        """Tell where large files go."""
        asked = (await request.json())["objects"]
        upload = {"upload": {"href": f"{self.hub.address}/objects"}}
        return {
            "transfer": "basic",
            "objects": [
                {
                    "oid": each["oid"],
                    "size": each["size"],
                    **(
                        {}
                        if each["oid"] in self.hub.objects
                        else {"actions": {"upload": {"href": f"{upload['upload']['href']}/{each['oid']}"}}}
                    ),
                }
                for each in asked
            ],
        }

    async def upload(self, oid: str, request: fastapi.Request) -> Any:
        """Take a large file."""
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != oid:
            return responses.JSONResponse({"error": "wrong hash"}, 400)
        self.hub.objects[oid] = content
        return {}

    def revision(self, kinds: str, owner: str, name: str) -> Any:
        """Describe a repository."""
        found = self.hub.find(KINDS[kinds], f"{owner}/{name}")
        return {
            "id": f"{owner}/{name}",
            "sha": found.commits[-1],
            "private": found.private,
            "siblings": [{"rfilename": path} for path in sorted(found.files)],
            "tags": [],
        }

    def history(self, kinds: str, owner: str, name: str) -> Any:
        """List the commits, newest first; all but the oldest are of today."""
        found = self.hub.find(KINDS[kinds], f"{owner}/{name}")
        dates = [found.since, *(today() for _ in found.commits[1:])]
        return [
            {"id": oid, "authors": [], "date": date, "title": "commit", "message": ""}
            for oid, date in zip(reversed(found.commits), reversed(dates), strict=True)
        ]

    def squash(self, kinds: str, owner: str, name: str) -> Any:
        """Forget all commits but one."""
        found = self.hub.find(KINDS[kinds], f"{owner}/{name}")
        found.commits, found.since = found.commits[-1:], today()
        return {}

    def tree(self, kinds: str, owner: str, name: str) -> Any:
        """List its files."""
        found = self.hub.find(KINDS[kinds], f"{owner}/{name}")
        return [
            {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
            for path, content in sorted(found.files.items())
        ]

    def resolve(self, path: str, revision: str, file: str) -> Any:
        """Give a file."""
        kinds, _, name = path.partition("/") if path.split("/")[0] in KINDS else ("models", "", path)
        found = self.hub.find(KINDS[kinds], name)
        if file not in found.files:
            raise Missing("EntryNotFound", f"{file} not found")
        content = found.files[file]
        headers = {"x-repo-commit": found.commits[-1], "etag": f'"{blob_id(content)}"'}
        return fastapi.Response(content, headers=headers, media_type="application/octet-stream")


def build(hub: Hub) -> fastapi.FastAPI:
    """Make the app."""
    app, routes = fastapi.FastAPI(), Routes(hub)

    @app.exception_handler(Missing)
    def missing(_: fastapi.Request, error: Missing) -> responses.JSONResponse:
        headers = {"x-error-code": error.code, "x-error-message": str(error)}
        return responses.JSONResponse({"error": str(error)}, 404, headers=headers)

    @app.middleware("http")
    async def note(request: fastapi.Request, go_on: Any) -> Any:
        hub.calls.append(f"{request.method} {request.url.path}")
        return responses.JSONResponse({"error": "down"}, 500) if hub.down else await go_on(request)

    for method, path, handler in (
        (["GET"], "/api/whoami-v2", routes.whoami),
        (["POST"], "/api/validate-yaml", routes.validate),
        (["POST"], "/api/repos/create", routes.create),
        (["POST"], "/api/{kinds}/{owner}/{name}/preupload/{revision}", routes.preupload),
        (["POST"], "/api/{kinds}/{owner}/{name}/commit/{revision}", routes.commit),
        (["POST"], "/{path:path}.git/info/lfs/objects/batch", routes.batch),
        (["PUT"], "/objects/{oid}", routes.upload),
        (["GET"], "/api/{kinds}/{owner}/{name}/commits/{revision}", routes.history),
        (["POST"], "/api/{kinds}/{owner}/{name}/super-squash/{branch}", routes.squash),
        (["GET"], "/api/{kinds}/{owner}/{name}/revision/{revision}", routes.revision),
        (["GET"], "/api/{kinds}/{owner}/{name}", routes.revision),
        (["GET"], "/api/{kinds}/{owner}/{name}/tree/{revision}", routes.tree),
        (["GET", "HEAD"], "/{path:path}/resolve/{revision}/{file:path}", routes.resolve),
    ):
        app.add_api_route(path, handler, methods=method)
    return app


def today() -> str:
    """Give the time as the Hub writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def blob_id(content: bytes) -> str:
    """Give git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """Run a Hub in a thread of this process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = Hub(address=f"http://127.0.0.1:{port}")
    server = uvicorn.Server(uvicorn.Config(build(hub), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join()
