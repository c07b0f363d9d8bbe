"""What a record says about where it was made. Needs no torch, but asks it for its threads where it is loaded."""

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from bench import protocol, records

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torch", "torchvision", "torch-fidelity", "lpips", "numpy", "pillow", "opencv-python-headless")


def collect(conditions: protocol.Protocol, *, device: str) -> records.Provenance:
    """Gather the provenance of scores that are made now.

    Args:
        conditions: The protocol.
        device: What `describe_device` gave.
    """
    return records.Provenance(
        git_commit=git_commit(),
        git_dirty=bool(_git("status", "--porcelain", "--untracked-files=no")),
        protocol=conditions.name,
        protocol_version=conditions.version,
        seed=conditions.seed,
        device=device,
        threads=_threads(),
        versions=_versions(),
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def git_commit() -> str:
    """Give the commit of the code, or "unknown"."""
    return _git("rev-parse", "HEAD") or "unknown"


def describe_device(device: str) -> str:
    """Name the device: "cpu: <model>, <n> cores" for the CPU, else what was given."""
    return f"cpu: {_cpu_name()}, {os.cpu_count()} cores" if device == "cpu" else device


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def _threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else os.cpu_count() or 1


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
