"""What every test gets: no network, shape checks on, fixed seeds, and skips that name what is missing."""

import os
import random
import shutil
import sys
from importlib import util
from pathlib import Path

import jaxtyping
import pytest

from tests import offline, typechecks

_OFFLINE = {
    "ACCELERATE_DISABLE_RICH": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MPLBACKEND": "Agg",
}
_PERMITTED_SKIPS = ("gpu: ", "network: ")
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

jaxtyping.install_import_hook(["bench", "models", "training"], f"{typechecks.__name__}.check")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --network, without which the tests marked `network` are skipped."""
    parser.addoption("--network", action="store_true", help="run the tests that need the internet, too")


def pytest_configure(config: pytest.Config) -> None:
    """Settle the environment before anything imports torch, gradio or huggingface_hub."""
    os.environ.update(_OFFLINE)
    if config.getoption("--network"):
        os.environ.update(HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0")
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    offline.install()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers for folders of tests; none for one file, where starting them costs more than they save."""
    several = len(config.args) > 1 or Path(config.args[0].split("::")[0]).is_dir()
    return min(2, os.cpu_count() or 1) if several else 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip by name what this machine cannot run."""
    network = item.get_closest_marker("network") is not None
    if network and not item.config.getoption("--network"):
        pytest.skip("network: run pytest with --network")
    if item.get_closest_marker("gpu") and not _has_cuda():
        pytest.skip("gpu: torch finds no CUDA device")
    if item.get_closest_marker("browser"):
        find_chromium()
    offline.allow(network=network)


def pytest_runtest_teardown() -> None:
    """Close the network guard after a test that was allowed through it."""
    offline.allow(network=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Refuse unexpected skips of tests, when NIJIGEN_STRICT_SKIPS asks for it."""
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Refuse unexpected skips of whole files, when NIJIGEN_STRICT_SKIPS asks for it."""
    return refuse_skip((yield))


def refuse_skip(report):
    """Turn a skipped report into a failed one, unless it was skipped for want of a GPU or the network."""
    strict = os.environ.get("NIJIGEN_STRICT_SKIPS") == "1"
    if strict and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(_PERMITTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"Skipped although NIJIGEN_STRICT_SKIPS=1 permits only gpu and network skips. {reason}"
    return report


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def find_chromium() -> str:
    """Give the path of a Chromium that Playwright can drive, or skip the test that asks."""
    if util.find_spec("playwright") is None:
        pytest.skip("browser: the Python package playwright is not installed")
    path = next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        pytest.skip(f"browser: none of {', '.join(_CHROMIUM_NAMES)} is on the PATH")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium to hand to Playwright as `executable_path`."""
    return find_chromium()


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start every test from the same state of every random number generator that is loaded."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def folder(variable: str, content: str) -> Path:
    """Give the folder that an environment variable names; skip where it is not set, fail where it is wrong."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: the folder with {content}")
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"{variable} is {value!r}, which is not a folder. Name the folder with {content}, or unset it.")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder NIJIGEN_DATA names."""
    return folder("NIJIGEN_DATA", "portraits/ and anime/")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder NIJIGEN_WEIGHTS names."""
    return folder("NIJIGEN_WEIGHTS", "the perceptual networks as local files")


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    """The folder NIJIGEN_CONFORMANCE names."""
    return folder("NIJIGEN_CONFORMANCE", "the conformance fixtures")
