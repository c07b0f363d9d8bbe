"""Tests of the project itself: sizes, words, requirements, import rules at run time, and the README's promises."""

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "training", "bench", "space")
SOURCES = [*sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")), *sorted(ROOT.glob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXT_SUFFIXES = {"", ".css", ".html", ".js", ".json", ".jsonl", ".lock", ".md", ".py", ".toml", ".txt", ".yml"}
TORCH_FREE = ("models", "models.card", "bench.records", "bench.ranking", "bench.report", "space.study", "space.store")

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 8
MAX_DOCSTRING_SHARE = 0.33
MAX_COMMENT_SHARE = 0.08
MIN_TEST_RATIO = 0.4
MAX_BUNDLED_BYTES = 32 * 2**20

UNFINISHED = re.compile(
    r"\bTO" r"DO\b|\bFIX" r"ME\b|\bNotImplemented" r"Error\b|\bplace" r"holder\b(?!=)"
)  # gradio has an argument of that name
MACHINE_PATH = re.compile(r"(?<![\w.$~}/-])/(?:home|mnt|opt|root|tmp|work)/\w|[A-Z]:\\Users|\.\./" r"shared")
OPTIONAL = {"onnx", "onnxruntime"}  # the code that wants them says how to install them
README_SECTIONS = ("set.?up|install|start", "train", "bench", "add.* model", "tree|files", "leaderboard")
README_COMMANDS = (
    "python -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt && python app.py",
    "pip install -r requirements.txt -r requirements-dev.txt && python -m pytest",
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(text_of(path), str(path))))


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def height(node: ast.stmt | ast.expr) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def lines(paths: list[Path]) -> int:
    return sum(len(text_of(path).splitlines()) for path in paths)


def committed_files() -> list[Path]:
    """Every file that git holds or would hold; without git, those that the tests know."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [name_of(path) for path in (*SOURCES, *TESTS, *ROOT.glob("*.*"))]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def requirements(*files: str) -> dict[str, Requirement]:
    rows = [line.split("#")[0].strip() for file in files for line in text_of(ROOT / file).splitlines()]
    parsed = [Requirement(row) for row in rows if row]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def test_files_are_short():
    counts = {name_of(path): lines([path]) for path in SOURCES + TESTS}
    assert {name: count for name, count in counts.items() if count > MAX_FILE_LINES} == {}


def test_functions_are_short():
    heights = {label(path, node): height(node) for path in SOURCES + TESTS for node in functions_of(path)}
    assert {name: count for name, count in heights.items() if count > MAX_FUNCTION_LINES} == {}


def test_functions_take_few_parameters():
    counts = {label(path, node): len(parameters(node)) for path in SOURCES for node in functions_of(path)}
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}


def label(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f"{name_of(path)}:{node.lineno} {node.name}"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument for argument in every if argument.arg not in ("self", "cls")]


def test_nothing_is_left_unfinished():
    found = {name_of(path): UNFINISHED.findall(text_of(path)) for path in SOURCES}
    assert {name: words for name, words in found.items() if words} == {}


def test_docstrings_explain_without_drowning_the_code():
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for path in SOURCES for node in nodes_of(path) if isinstance(node, documented) and node.body]
    docstrings = [
        body[0] for body in bodies if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    ]
    assert sum(map(height, docstrings)) <= MAX_DOCSTRING_SHARE * lines(SOURCES)


def test_comments_are_few():
    tokens = (token for path in SOURCES for token in tokenize.generate_tokens(io.StringIO(text_of(path)).readline))
    comments = sum(token.type == tokenize.COMMENT for token in tokens)
    assert comments <= MAX_COMMENT_SHARE * lines(SOURCES)


def test_tests_keep_pace_with_the_source():
    assert lines(TESTS) >= MIN_TEST_RATIO * lines(SOURCES)


def test_test_folders_mirror_the_packages():
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in TESTS if path.parent != ROOT / "tests"}
    assert folders <= set(PACKAGES)


def test_no_file_names_a_path_of_one_machine():
    files = [path for path in committed_files() if path.suffix in TEXT_SUFFIXES and name_of(path) != ".ci/run"]
    named = {name_of(path): MACHINE_PATH.findall(text_of(path)) for path in files}
    assert {name: found for name, found in named.items() if found} == {}


def test_bundled_weights_are_small():
    sizes = {name_of(path): path.stat().st_size for path in committed_files() if path.suffix == ".safetensors"}
    assert sum(sizes.values()) <= MAX_BUNDLED_BYTES, sizes


def test_only_safetensors_hold_weights():
    foreign = {".bin", ".ckpt", ".h5", ".npz", ".onnx", ".pb", ".pkl", ".pt", ".pth"}
    assert [name_of(path) for path in committed_files() if path.suffix in foreign] == []


@pytest.mark.parametrize("module", TORCH_FREE)
def test_menus_and_reports_do_not_load_torch(module):
    if not (ROOT / module.replace(".", "/")).is_dir() and not (ROOT / f"{module.replace('.', '/')}.py").is_file():
        return
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("paths", "files"),
    [(SOURCES, ["requirements.txt"]), (TESTS, ["requirements.txt", "requirements-dev.txt"])],
    ids=["sources", "tests"],
)
def test_every_imported_package_is_required(paths, files):
    allowed, owners = requirements(*files), metadata.packages_distributions()
    ours = {*PACKAGES, *OPTIONAL, "app", "tests", *sys.stdlib_module_names}
    missing = {}
    for path in paths:
        for name in imported_packages(path) - ours:
            if not {canonicalize_name(owner) for owner in owners.get(name, [name])} & allowed.keys():
                missing.setdefault(name, name_of(path))
    assert missing == {}


def imported_packages(path: Path) -> set[str]:
    plain = {alias.name for node in nodes_of(path) if isinstance(node, ast.Import) for alias in node.names}
    members = {node.module or "" for node in nodes_of(path) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | members}


def test_lock_file_meets_every_requirement():
    locked = requirements("requirements.lock")
    for name, requirement in requirements("requirements.txt", "requirements-dev.txt").items():
        assert name in locked, f"{name} is missing in requirements.lock"
        [pin] = locked[name].specifier
        assert pin.operator == "=="
        assert pin.version in requirement.specifier, f"requirements.lock pins {name} outside {requirement.specifier}"


def test_lock_file_holds_no_addresses():
    assert not re.search(r"://|^--|@ ", text_of(ROOT / "requirements.lock"), re.MULTILINE)


@pytest.fixture(scope="module")
def readme() -> str:
    path = ROOT / "README.md"
    if not path.is_file():
        pytest.skip("README.md is missing")
    return text_of(path)


def test_readme_opens_with_the_header_of_the_space(readme):
    _, header, _ = readme.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert readme.startswith("---\n")
    assert {"title", "emoji", "license", "short_description"} <= fields.keys()
    assert (fields["sdk"], fields["app_file"]) == ("gradio", "app.py")
    assert Version(str(fields["sdk_version"])) in requirements("requirements.txt")["gradio"].specifier
    assert str(fields.get("python_version", "3.11")) in ("3.11", "3.12")


def test_readme_shows_a_picture_before_the_first_section(readme):
    opening = readme.split("\n## ")[0]
    pictures = re.findall(r"!\[[^\]]+\]\(([^)\s]+)|<img[^>]+src=\"([^\"]+)", opening)
    assert pictures, "a picture of real results, with a text alternative"
    for picture in filter(None, sum(pictures, ())):
        assert "://" in picture or (ROOT / picture).is_file()


def test_readme_sections_come_in_order(readme):
    headings = re.findall(r"^## +(.+)$", readme, re.MULTILINE)
    matches = [[re.search(pattern, heading, re.I) for heading in headings] for pattern in README_SECTIONS]
    found = [next((i for i, match in enumerate(row) if match), -1) for row in matches]
    assert -1 not in found, dict(zip(README_SECTIONS, found, strict=True))
    assert found == sorted(found)


@pytest.mark.parametrize("command", README_COMMANDS, ids=["run", "test"])
def test_readme_gives_both_commands(readme, command):
    assert command in readme


def test_readme_links_lead_somewhere(readme):
    targets = re.findall(r"\]\(([^)\s#]+)", readme)
    assert [name for name in targets if "://" not in name and not (ROOT / name).exists()] == []


def test_shape_checks_are_on():
    import jaxtyping

    from models import image

    with pytest.raises(jaxtyping.TypeCheckError):
        image.to_uint8("a string")
