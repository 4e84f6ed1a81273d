"""The house rules, as far as a program can check them (DESIGN §2, STYLE)."""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "activities", "workflows", "client", "worker")
# What each package may import of the others: only what stands before it.
ALLOWED = {package: set(PACKAGES[: index + 1]) for index, package in enumerate(PACKAGES)}
# The commands `tickless dev` and `tickless worker` load the workers, lazily.
LAZY = {("client/cli/stack.py", "worker")}
DOMAIN_MAY_USE = {"domain", "pydantic", "pydantic_core", "croniter", "re2", "tzdata"}
DOMAIN_MUST_NOT = {
    "asyncio",
    "os",
    "time",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
}
FORBIDDEN_NAMES = {"utils", "helpers", "shared", "common", "misc"}
MAX_MODULE = 500
MAX_FUNCTION = 80
MAX_TEST_MODULE = 600

MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top_level = set(tree.body)
    for name, node in _imports(tree):
        if name not in PACKAGES or name in ALLOWED[package]:
            continue
        assert (_relative(path), name) in LAZY, f"{_relative(path)} imports {name}"
        assert node not in top_level, f"{_relative(path)} imports {name} when it is imported itself"


@pytest.mark.parametrize("path", [p for p in MODULES if "domain" in p.parts], ids=_relative)
def test_domain_is_pure(path: Path) -> None:
    for name, _ in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert name not in DOMAIN_MUST_NOT, f"{_relative(path)} imports {name}"
        assert name in DOMAIN_MAY_USE or name in sys.stdlib_module_names, name


@pytest.mark.parametrize(
    "path", [p for p in MODULES if {"domain", "workflows"} & set(p.parts)], ids=_relative
)
def test_decisions_replay(path: Path) -> None:
    """Clock, chance and host would answer differently on replay; workflows ask `workflow`
    instead."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, _ in _imports(tree):
        assert name not in DOMAIN_MUST_NOT - {"asyncio"} | {"uuid"}, f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asked = (node.value.id, node.attr)
            assert asked not in {("datetime", "now"), ("datetime", "today"), ("date", "today")}


@pytest.mark.parametrize("path", MODULES, ids=_relative)
def test_module_keeps_its_budget(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_MODULE
    assert path.stem not in FORBIDDEN_NAMES
    if "versions" not in path.parts:
        assert ast.get_docstring(ast.parse(text)), "a module opens with its charter"
    for function in _functions(ast.parse(text)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= MAX_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", TESTS, ids=_relative)
def test_test_module_keeps_its_budget(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_TEST_MODULE


def test_modules_and_functions_are_small() -> None:
    trees = [(path, path.read_text(encoding="utf-8")) for path in MODULES]
    lines = [len(text.splitlines()) for _, text in trees]
    lengths = sorted(
        (function.end_lineno or function.lineno) - function.lineno + 1
        for _, text in trees
        for function in _functions(ast.parse(text))
    )
    assert statistics.median(lines) <= 180
    assert statistics.median(lengths) <= 10
    assert lengths[int(len(lengths) * 0.9)] <= 35


def test_only_settings_read_the_environment() -> None:
    """`os.environ` is handed down from where a process starts, and read in one place."""
    starts = {
        "client/tickless.py",
        "worker/child_process.py",  # hands its own on to its children
        "worker/commands.py",
        "worker/demo.py",
        "worker/llama_server.py",
    }
    for path in MODULES:
        name = _relative(path)
        if name in starts or name.startswith("client/cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            read = isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            assert not read, f"{name} reads the environment"


def test_client_exports_are_pinned() -> None:
    import client

    assert (
        sorted(client.__all__)
        == client.__all__
        == [
            "Applied",
            "ApprovalList",
            "Approvals",
            "CallerContext",
            "DomainError",
            "ErrorKind",
            "Export",
            "GoalAnswer",
            "GoalCreated",
            "GoalList",
            "Goals",
            "JobAnswer",
            "JobList",
            "JobStarted",
            "Jobs",
            "Manifest",
            "Manifests",
            "MessageSent",
            "Plan",
            "Preview",
            "Problem",
            "RoutineCreated",
            "RoutinePage",
            "Routines",
            "RunProgress",
            "RunStarted",
            "Runs",
            "Schedules",
            "SessionPage",
            "SessionProgress",
            "Sessions",
            "Settings",
            "System",
            "TicklessClient",
            "load_settings",
        ]
    )
    assert all(getattr(client, name) is not None for name in client.__all__)
