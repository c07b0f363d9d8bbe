"""A PostgreSQL server of its own for the tests: started in a temporary folder, reached by a socket, gone afterwards."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def find() -> Path | None:
    """Give the folder of the server's programs, the newest where there are several; None without any."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda name: float(Path(name).parent.name))
    on_path = shutil.which("initdb")
    folders += [os.path.dirname(on_path)] if on_path else []
    found = [Path(folder) for folder in folders if (Path(folder) / "initdb").exists()]
    return found[-1] if found else None


@contextlib.contextmanager
def serve(programs: Path) -> Iterator[str]:
    """Run a server and give the address of an empty database; as root it runs as the user "postgres"."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # sockets need a short path
    if prefix:
        shutil.chown(folder, "postgres")
    run = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    data, program = folder / "data", lambda name: [*prefix, str(programs / name), "-D", str(folder / "data")]
    try:
        subprocess.run([*program("initdb"), "--auth=trust", "--no-sync", "--username=nijigen"], **run)
        options = f"-k {folder} -c listen_addresses='' -c max_connections=40"
        subprocess.run([*program("pg_ctl"), "-w", "-o", options, "-l", str(folder / "log"), "start"], **run)
        yield f"postgresql+psycopg://nijigen@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            subprocess.run([*program("pg_ctl"), "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder, ignore_errors=True)
