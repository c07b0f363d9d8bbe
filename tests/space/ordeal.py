"""Ordeals of the rating path, by hand: `python -m tests.space.ordeal kill --times 100`, `... load --raters 500` and
`... tabs --times 1000`.

The server is a process of its own with the study's routes and a real database. A command ends with status 1 where an
acknowledged rating, or with tabs a click, is missing or stored twice.
"""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastapi
import httpx
import numpy as np
import sqlalchemy as sql
import uvicorn
from fastapi import responses

from space import api, host, results, stimuli, store, study
from space.ui import rate, text
from tests import conftest
from tests.space import postgresql, studies

SCREEN = {"input": "mouse", "viewport_width": 1280, "viewport_height": 800, "pixel_ratio": 1.0}


@dataclasses.dataclass
class Ledger:
    """What the clients were told.

    Attributes:
        acknowledged: Choice by trial, of every answer that came back.
        latencies: Seconds from sending to the answer.
        errors: Answers that were no success.
    """

    acknowledged: dict[str, str] = dataclasses.field(default_factory=dict)
    latencies: list[float] = dataclasses.field(default_factory=list)
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class Server:
    """The study's routes in a process that can be killed."""

    def __init__(self, pictures: Path, url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "tests.space.ordeal", "serve", str(pictures), url, str(self.port)]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise TimeoutError("the server did not start")

    def kill(self) -> None:
        """End it without any warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in good order."""
        self.process.terminate()
        self.process.wait(30)


async def take_part(client: httpx.AsyncClient, ledger: Ledger, *, think: float, seed: int, until: float) -> None:
    """Rate until the time is up or the server is gone; every answer that came back is written down."""
    generator = random.Random(seed)
    with contextlib.suppress(httpx.TransportError):
        if think:
            await asyncio.sleep(generator.uniform(0, think))
        joined = await post(client, ledger, "join", {"consent": True})
        token = {"token": joined["token"]}
        while time.monotonic() < until:
            session = await post(client, ledger, "session", token | {"language": "en"})
            for number in range(session["next"], 21):
                asked = token | {"session_id": session["session_id"], "number": number}
                trial = await post(client, ledger, "trial", asked)
                if think:
                    await asyncio.sleep(generator.expovariate(1 / think))
                choice = generator.choice(("A", "B", "tie", "both_bad"))
                answer = token | SCREEN | {"trial_id": trial["trial_id"], "attempt": 0, "choice": choice}
                start = time.monotonic()
                saved = await post(client, ledger, "rating", answer | {"decision_ms": 3000})
                ledger.latencies.append(time.monotonic() - start)
                ledger.acknowledged[trial["trial_id"]] = saved["answered"]
                if time.monotonic() > until:
                    return


async def post(client: httpx.AsyncClient, ledger: Ledger, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the server; an answer that is no success is counted and raised."""
    answer = await client.post(f"/study/{route}", json=body)
    if answer.status_code != 200:
        ledger.errors[f"{route} {answer.status_code}"] += 1
        answer.raise_for_status()
    return answer.json()


@contextlib.asynccontextmanager
async def clients(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client with a connection for everybody."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client:
        yield client


async def crowd(port: int, ledger: Ledger, *, raters: int, think: float, seconds: float, seed: int) -> None:
    """Let many people rate at once."""
    until = time.monotonic() + seconds
    async with clients(port) as client:
        await asyncio.gather(
            *(
                take_part(client, ledger, think=think, seed=seed * 10_007 + number, until=until)
                for number in range(raters)
            )
        )


def compare(url: str, ledger: Ledger) -> tuple[int, int, int]:
    """Open the database after a crash.

    Returns:
        Acknowledged ratings that are missing or differ, ratings stored twice, ratings stored in all.
    """
    kept = store.Store(url)
    with kept.read() as connection:
        store.verify(connection)
        rows = connection.execute(sql.select(store.EVENTS.c.trial_id).where(store.EVENTS.c.kind == "rating")).scalars()
        amounts = collections.Counter(rows)
        choices = {rating.trial_id: rating.choice for rating in store.ratings(connection)}
    kept.close()
    lost = sum(choices.get(trial) != choice for trial, choice in ledger.acknowledged.items())
    return lost, sum(amount - 1 for amount in amounts.values()), sum(amounts.values())


def kill(pictures: Path, url: str, *, times: int, raters: int) -> bool:
    """Kill the server again and again under load; tell whether nothing was lost or doubled."""
    ledger, generator, bad = Ledger(), random.Random(0), 0
    for turn in range(times):
        server = Server(pictures, url)

        async def stress(server: Server = server, turn: int = turn) -> None:
            work = asyncio.create_task(crowd(server.port, ledger, raters=raters, think=0, seconds=60, seed=turn))
            before = len(ledger.acknowledged)
            while len(ledger.acknowledged) == before and not work.done():
                await asyncio.sleep(0.01)  # in the middle of the work, however slow the machine is
            await asyncio.sleep(generator.uniform(0, 1.5))
            server.kill()
            await work

        asyncio.run(stress())
        lost, twice, stored = compare(url, ledger)
        bad += lost + twice
        sys.stdout.write(
            f"kill {turn + 1}: {len(ledger.acknowledged)} acknowledged, {stored} stored, {lost} lost, {twice} twice\n"
        )
        sys.stdout.flush()
    return not bad


def load(pictures: Path, url: str, *, raters: int, think: float, seconds: float) -> bool:
    """Let many people rate with pauses; tell whether p95 is at most 100 ms without an error or a loss."""
    ledger, server = Ledger(), Server(pictures, url)
    asyncio.run(crowd(server.port, ledger, raters=raters, think=think, seconds=seconds, seed=1))
    server.stop()
    lost, twice, stored = compare(url, ledger)
    p50, p95, p99 = (float(1000 * np.percentile(ledger.latencies, share)) for share in (50, 95, 99))
    sys.stdout.write(
        f"{raters} raters, {think:g} s think time, {seconds:g} s: {len(ledger.latencies)} ratings, "
        f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, {sum(ledger.errors.values())} errors, "
        f"{stored} stored, {lost} lost, {twice} twice\n"
    )
    return p95 <= 100 and not ledger.errors and not lost and not twice


def tabs(pictures: Path, url: str, *, times: int) -> bool:
    """Close a tab 0 to 300 ms after a click, again and again; tell whether every click was stored once."""
    from playwright import sync_api

    server, generator = Server(pictures, url), random.Random(0)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=conftest.find_chromium())
        context = browser.new_context()
        for _ in range(times):
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.locator(".rate .primary").click()
            page.locator(".rate .thanks, .rate .choices button:enabled").first.wait_for()
            if page.locator(".rate .thanks").count():
                page.locator(".rate .primary").click()
            page.locator(".rate [data-choice=A]:enabled").click(no_wait_after=True)
            time.sleep(generator.uniform(0, 0.3))
            page.close()
        time.sleep(2)
        browser.close()
    server.stop()
    _, twice, stored = compare(url, Ledger())
    sys.stdout.write(f"{times} tabs closed right after a click: {stored} stored, {twice} twice\n")
    return stored == times and not twice


def rate_page() -> responses.HTMLResponse:
    """Give the Rate tab's own markup and script without Gradio around it: a thousand tabs load in minutes."""
    part = rate.build(text.TEXT["en"], "en")
    script = f"const element = document.getElementById('rate'); {rate.SCRIPT.read_text()}"
    return responses.HTMLResponse(f"<div id=rate>{part.value}</div><script type=module>{script}</script>")


def serve(pictures: Path, url: str, port: int) -> None:
    """Be the server."""
    app, holder = fastapi.FastAPI(), host.Host(folder=pictures, url=url)
    app.get("/")(rate_page)
    holder.running = study.Study(stimuli.load(pictures), store.Store(url))
    api.add_to(app, results.Results(holder))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", backlog=2048)


def main() -> int:
    """Run an ordeal."""
    parser = argparse.ArgumentParser(description="Ordeals of the rating path.")
    parser.add_argument("ordeal", choices=("kill", "load", "tabs", "serve"))
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--raters", type=int)
    parser.add_argument("--think", type=float, default=10.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--postgresql", action="store_true", help="on a server that is started for it")
    options = parser.parse_args()
    if options.ordeal == "serve":
        serve(Path(options.rest[0]), options.rest[1], int(options.rest[2]))
        return 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder}/study.sqlite3"
        if options.postgresql:
            programs = postgresql.find()
            if programs is None:
                sys.stderr.write("PostgreSQL is not installed.\n")
                return 2
            url = stack.enter_context(postgresql.serve(programs))
        pictures = studies.folder(folder / "pictures")
        if options.ordeal == "kill":
            fine = kill(pictures, url, times=options.times, raters=options.raters or 50)
        elif options.ordeal == "tabs":
            fine = tabs(pictures, url, times=options.times)
        else:
            fine = load(pictures, url, raters=options.raters or 500, think=options.think, seconds=options.seconds)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
