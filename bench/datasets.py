"""Image folders: which files count, and hashes of their bytes without reading them twice. Needs no torch."""

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from bench import records

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SOURCES = "SOURCES.csv"
SPLIT = "test"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One image of a set: its name inside the folder, its path and the SHA-256 of its bytes."""

    name: str
    path: Path
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images that are measured together, sorted by name.

    Attributes:
        files: The images.
        selection: Which files of the folder these are, in words.
    """

    files: tuple[ImageFile, ...]
    selection: str

    @property
    def sha256(self) -> str:
        """Hash over all names and bytes."""
        return digest(f"{file.name}\0{file.sha256}" for file in self.files)

    def __len__(self) -> int:
        return len(self.files)


class HashIndex:
    """SHA-256 by path, remembered with size and modification time, so that an unchanged file is not read again.

    Args:
        path: The small JSON file that keeps it.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._known: dict[str, list] = _read_index(self._path)
        self._changed = False
        self.hashed = 0  # files that had to be read

    def sha256(self, path: str | Path) -> str:
        """Give the SHA-256 of a file's bytes, in hexadecimal."""
        key, state = str(Path(path).resolve()), Path(path).stat()
        mark = [state.st_size, state.st_mtime_ns]
        known = self._known.get(key)
        if known is None or known[:2] != mark:
            with Path(path).open("rb") as file:
                known = [*mark, hashlib.file_digest(file, "sha256").hexdigest()]
            self._known[key], self._changed = known, True
            self.hashed += 1
        return known[2]

    def save(self) -> None:
        """Write the index where anything is new."""
        if self._changed:
            records.write_atomic(self._path, json.dumps(self._known).encode())
            self._changed = False


def _read_index(path: Path) -> dict[str, list]:
    try:
        index = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # it is only a memory: start anew
        return {}
    return index if isinstance(index, dict) else {}


def read_set(folder: str | Path, index: HashIndex, *, limit: int | None = None) -> ImageSet:
    """List the images of a folder; where it has a SOURCES.csv with a split column, only those of the test split.

    Args:
        folder: A flat folder of images.
        index: Remembers hashes.
        limit: Keep this many, evenly spread over the sorted names.

    Raises:
        RecordError: The folder or its images are missing, or the limit is below 1.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise records.RecordError(f"{folder} is not a folder; give a folder of images.")
    if limit is not None and limit < 1:
        raise records.RecordError(f"--limit is {limit}; expected 1 or more.")
    names, selection = _names(folder)
    if not names:
        raise records.RecordError(f"{folder} holds no image ({selection}); expected {', '.join(sorted(SUFFIXES))}.")
    if limit is not None and limit < len(names):
        names = [names[position * len(names) // limit] for position in range(limit)]
        selection += f", limit {limit}"
    files = tuple(ImageFile(name=name, path=folder / name, sha256=index.sha256(folder / name)) for name in names)
    return ImageSet(files=files, selection=selection)


def _names(folder: Path) -> tuple[list[str], str]:
    sources = folder / SOURCES
    if sources.is_file():
        with sources.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if {"file", "split"} <= set(reader.fieldnames or ()):
                names = sorted(row["file"] for row in reader if row["split"] == SPLIT)
                absent = [name for name in names if not (folder / name).is_file()]
                if absent:
                    raise records.RecordError(
                        f"{sources} lists {absent[0]} and {len(absent) - 1} more that are absent; complete the folder."
                    )
                return names, f"split {SPLIT} of {SOURCES}"
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), "all images"


def digest(parts: Iterable[str]) -> str:
    """SHA-256 over texts, in order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() + b"\n")
    return total.hexdigest()


def hash_bytes(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
