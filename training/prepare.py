"""Make training images of a folder of raw pictures: `python training/prepare.py RAW OUT`.

Worker processes read, cut and hash; this process alone decides and writes, picture by picture in a fixed order, so that
their number changes no byte and a call that was stopped is continued by the next one.
"""

import array
import collections
import concurrent.futures
import csv
import dataclasses
import functools
import hashlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tqdm
import tyro

from bench import records
from training import cutting, data
from training.cutting import Cut, Settings, Source
from training.recipe import RecipeError

log = logging.getLogger(__name__)
MANIFEST, SOURCES = "manifest.jsonl", "SOURCES.csv"
Table = Mapping[str, Mapping[str, str]] | None  # rows of SOURCES.csv by file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Cut, hash and sort out a folder of raw pictures for training."""

    raw: tyro.conf.Positional[Path]
    """Folder with pictures, at any depth; where a SOURCES.csv stands in it, only its rows, with their splits."""
    out: tyro.conf.Positional[Path]
    """Folder for the images, their SOURCES.csv, manifest.jsonl, report.md and report.json."""
    workers: int = os.cpu_count() or 1
    """Processes that read and cut; 0 does all in this one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, prepare, and give the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = tyro.cli(Options, args=arguments, prog="training/prepare.py")
    try:
        prepare(options)
    except (RecipeError, records.RecordError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command continues\n")
        return 130
    return 0


def prepare(options: Options) -> None:
    """Bring a prepared folder up to date with its raw one.

    Raises:
        RecipeError: A folder or setting cannot be used, or the folder was prepared from other pictures or settings.
    """
    options.check()
    if options.workers < 0:
        raise RecipeError(f"--workers is {options.workers}; expected 0 or more.")
    settings = Settings(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Settings)})
    table = listed(options.raw)
    sources = listing(options.raw, table)
    if options.out.resolve().is_relative_to(options.raw.resolve()):
        raise RecipeError(f"{options.out} lies inside {options.raw}; choose a folder outside it.")
    if settings.faces != "none":
        cutting.fetch(settings.detector)
    folder = Folder(options.out, settings)
    left = folder.missing(sources)
    with tqdm.tqdm(total=len(sources), initial=len(sources) - len(left), desc="prepare", unit="picture") as bar:
        for row, cuts in results(functools.partial(cutting.process, settings=settings), left, workers=options.workers):
            folder.add(row, cuts)
            bar.update()
    folder.summarise(table)


def listed(raw: Path) -> Table:
    """Read the SOURCES.csv of a folder by file name, or give None where there is none."""
    path = raw / SOURCES
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if "file" not in (reader.fieldnames or ()):
            raise RecipeError(f"{path} has the columns {reader.fieldnames}; expected one called file.")
        return {row["file"]: row for row in reader}


def listing(raw: Path, table: Table) -> list[Source]:
    """List what may be a picture, in the order in which pictures are preferred to their later duplicates.

    Training pictures come last: of a near-duplicate across splits, the one that is tested on stays.

    Args:
        raw: Folder; hidden files and folders in it are passed over.
        table: What `listed` gave.

    Raises:
        RecipeError: No folder, or nothing in it.
    """
    if not raw.is_dir():
        raise RecipeError(f"{raw} is no folder; expected one with pictures.")
    found = [path.relative_to(raw) for path in raw.rglob("*") if not path.is_dir() and path != raw / SOURCES]
    seen = {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}
    splits = dict.fromkeys(seen, "" if table is None else None)
    splits |= {name: row.get("split") or "" for name, row in (table or {}).items()}
    if not splits:
        raise RecipeError(f"{raw} is empty; expected pictures.")
    order = sorted(splits, key=lambda name: (splits[name] == "train", name))
    return [Source(name=printable(name), path=raw / name, split=splits[name], size=size(raw / name)) for name in order]


def printable(name: str) -> str:
    """Give a file name as UTF-8 can hold it."""
    return name.encode("utf-8", "backslashreplace").decode()


def size(path: Path) -> int | None:
    """Bytes of a file, or None where there is none: a pipe or a device would block or never end."""
    return path.stat().st_size if path.is_file() else None


def results(
    job: Callable[[Source], tuple[records.Row, list[Cut]]], sources: Sequence[Source], *, workers: int
) -> Iterator[tuple[records.Row, list[Cut]]]:
    """Work on pictures in processes; the answers come in the order of the pictures.

    Raises:
        RecipeError: A process was killed.
    """
    if not workers or not sources:
        yield from map(job, sources)
        return
    pool = data.pool(workers, begin=cutting.begin)
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for source in sources:
            waiting.append(pool.submit(job, source))
            if len(waiting) > 4 * workers:  # more would fill the memory where one picture takes long
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except concurrent.futures.BrokenExecutor as error:
        raise RecipeError(
            "a worker process was killed, often for want of memory; what is done stays: run again with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class Folder:
    """A prepared folder: what it holds so far, and the decisions that depend on that.

    Args:
        out: Made with the first picture.
        settings: Must be those that the folder was begun with.

    Raises:
        RecipeError: They are not.
    """

    def __init__(self, out: Path, settings: Settings) -> None:
        self.out, self.settings = out, settings
        self.rows = list(records.read_jsonl(out / MANIFEST))
        self.hashes, self.shown = array.array("Q"), list[str]()  # of all images, and what each is called
        self.contents: dict[str, str] = {}
        if self.rows and self.rows[0]["settings"] != (asked := dataclasses.asdict(settings)):
            was = self.rows[0]["settings"]
            changes = [f"{name} {was.get(name)}, now {asked[name]}" for name in asked if was.get(name) != asked[name]]
            raise RecipeError(f"{out} was prepared with other settings ({'; '.join(changes)}); use another folder.")
        for row in self.rows:
            for entry in row["images"]:
                self.remember(row, entry)
        for leftover in out.rglob(".*.png.*"):  # of a call that was killed while it wrote
            leftover.unlink()

    def missing(self, sources: Sequence[Source]) -> list[Source]:
        """Give the pictures that are still to be done.

        Raises:
            RecipeError: One that was done is gone or has changed.
        """
        known = {source.name: source for source in sources}
        for row in self.rows:
            source = known.pop(row["source"], None)
            if source is None or (source.split, source.size) != (row["split"], row["bytes"]):
                raise RecipeError(f"{row['source']} changed since {self.out} was prepared of it; use another folder.")
        return list(known.values())

    def add(self, row: records.Row, cuts: Sequence[Cut]) -> None:
        """Decide on the images of a picture, write those that stay, then the picture's line of the manifest."""
        first = self.contents.get(row["sha256"])
        if first is not None and any(cut.png for cut in cuts):
            cuts = [cutting.drop("duplicate", f"the same bytes as {first}")]
        row["images"] = [self.keep(row, cut, number) for number, cut in enumerate(cuts)]
        records.append_jsonl(self.out / MANIFEST, [row])
        self.rows.append(row)

    def keep(self, row: records.Row, cut: Cut, number: int) -> records.Row:
        """Write one image and its versions, unless it looks like one that is there; give its record."""
        entry = dict(cut.record)
        if not cut.png:
            return entry
        twin = self.twin(int(entry["phash"], 16))
        if twin:
            return entry | {"reason": "near-duplicate", "detail": twin}
        entry["file"] = file_name(row["source"], number if self.settings.faces == "every" else None)
        path = self.out / entry["file"]
        records.write_atomic(path, cut.png)
        for version, content in zip(self.settings.versions, cut.versions, strict=True):
            records.write_atomic(data.prepared(path, version, self.settings.size), content)
        self.remember(row, entry)
        return entry

    def twin(self, phash: int) -> str:
        """Name the image that looks most like this one, if it is a near-duplicate."""
        if not self.hashes:
            return ""
        bits = np.bitwise_count(np.frombuffer(self.hashes, np.uint64) ^ np.uint64(phash))
        nearest = int(bits.argmin())
        close = bits[nearest] <= self.settings.duplicates
        return f"differs in {bits[nearest]} of 64 bits from {self.shown[nearest]}" if close else ""

    def remember(self, row: records.Row, entry: records.Row) -> None:
        """Hold later pictures against an image that was kept."""
        if entry["file"]:
            self.hashes.append(int(entry["phash"], 16))
            self.shown.append(row["source"])
            self.contents.setdefault(row["sha256"], row["source"])

    def summarise(self, table: Table) -> None:
        """Write SOURCES.csv and the reports, those that differ from what is there."""
        found = report(self.rows, self.settings, self.out)
        texts = {
            SOURCES: listing_of(self.rows, self.out, table),
            "report.json": json.dumps(found, indent=2) + "\n",
            "report.md": markdown(found),
        }
        for name, text in texts.items():
            path = self.out / name
            if not path.is_file() or path.read_bytes() != text.encode():
                records.write_atomic(path, text.encode())
        counts = {reason: len(entries) for reason, entries in found["dropped"].items()}
        log.info("%d images of %d pictures; dropped: %s", found["images"], found["pictures"], counts or "none")


def file_name(source: str, number: int | None) -> str:
    """Name an image after its picture, uniquely, so that it does not depend on what else the folder holds."""
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(source).stem, flags=re.ASCII)[:60]
    unique = hashlib.sha256(source.encode()).hexdigest()[:8]
    return f"{stem}-{unique}.png" if number is None else f"{stem}-{unique}-{number}.png"


def images(rows: Sequence[records.Row], out: Path) -> Iterator[tuple[records.Row, records.Row]]:
    """Give every image with its picture; one that was removed from the folder by hand counts as dropped."""
    for row in rows:
        for entry in row["images"]:
            gone = bool(entry["file"]) and not (out / entry["file"]).is_file()
            yield row, entry | ({"file": None, "reason": "removed by hand"} if gone else {})


def listing_of(rows: Sequence[records.Row], out: Path, table: Table) -> str:
    """Write the SOURCES.csv of the images: what stands in the raw folder's one, with the raw name as `raw_file`."""
    columns = list(next(iter(table.values()), {})) if table else []
    lines = io.StringIO()
    fields = list(dict.fromkeys(["file", "raw_file", *columns]))
    writer = csv.DictWriter(lines, fields, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    kept = {entry["file"]: row["source"] for row, entry in images(rows, out) if entry["file"]}
    for name, source in sorted(kept.items()):
        writer.writerow({**(table or {}).get(source, {}), "file": name, "raw_file": source})
    return lines.getvalue()


def report(rows: Sequence[records.Row], settings: Settings, out: Path) -> records.Row:
    """Count what was kept, by split, and list what was dropped, by reason."""
    splits: collections.Counter[str] = collections.Counter()
    dropped: dict[str, list[dict[str, str]]] = {}
    for row, entry in images(rows, out):
        if entry["file"]:
            splits[row["split"] or "all"] += 1
        else:
            dropped.setdefault(entry["reason"], []).append({"picture": row["source"], "detail": entry["detail"]})
    return {
        "pictures": len(rows),
        "images": splits.total(),
        "splits": dict(sorted(splits.items())),
        "dropped": dict(sorted(dropped.items())),
        "settings": dataclasses.asdict(settings),
    }


def markdown(found: records.Row) -> str:
    """Write the report for people."""
    lines = ["# Prepared images", "", f"{found['images']} images of {found['pictures']} pictures.", ""]
    lines += ["| what | count |", "| --- | --: |"]
    lines += [f"| kept ({split}) | {count} |" for split, count in found["splits"].items()]
    lines += [f"| {reason} | {len(entries)} |" for reason, entries in found["dropped"].items()]
    lines += ["", "Settings: " + ", ".join(f"{name} {value}" for name, value in found["settings"].items())]
    for reason, entries in found["dropped"].items():
        lines += ["", f"## {reason}", ""]
        lines += [f"- `{' '.join(entry['picture'].split())}`: {entry['detail']}" for entry in entries]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
