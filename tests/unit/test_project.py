"""The shape of the project itself: who imports what, what each process loads, what is pinned and documented."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement as Dependency
from packaging.utils import canonicalize_name

import outrider
from outrider.config import Limits, Settings
from outrider.networks import EgressSettings

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "outrider"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
KERNEL = {"config", "endpoints", "errors", "ids", "clock", "faults", "networks", "subject"}
BANNED_NAMES = {"manager", "helper", "helpers", "util", "utils", "common", "base"}

# Each outside library, and sqlite3, with the rooms that may name it. A new library needs a line here.
OWNERS = {
    "anthropic": {"models", "wire", "testing", "cli"},
    "cronsim": {"resources"},
    "cryptography": {"cli", "links", "vault"},
    "anyio": {"models", "proxy", "vaultd", "api", "server", "testing", "harness"},
    "asyncpg": {"doorbell", "store"},
    "click": {"cli"},
    "h11": {"proxy"},
    "httptools": {"links"},
    "httpx2": {"cli", "links", "models", "proxy", "server", "vault", "vaultd", "testing"},
    "mcp": {"proxy"},
    "mcp_types": {"proxy"},
    "msgspec": {
        "api",
        "doorbell",
        "harness",
        "links",
        "models",
        "proxy",
        "resources",
        "session",
        "store",
        "testing",
        "vault",
        "wire",
    },
    "nats": {"doorbell"},
    "obstore": {"store"},
    "opentelemetry": {"telemetry"},
    "prometheus_client": {"telemetry"},
    "python_multipart": {"api"},
    "pydantic": {"proxy", "testing", "wire"},
    "rich": {"cli"},
    "sqlite3": {"store", "vault"},
    "starlette": {"api", "console", "models", "proxy", "server", "vaultd"},
    "typing_extensions": {"models", "wire"},
    "uvicorn": {"models", "proxy", "server", "vaultd"},
    "uvloop": {"models", "sandboxd", "server", "vaultd"},
    "zstandard": {"store", "supervisor", "testing"},
}
# Places outside the table, each with its reason.
TOLERATED: dict[tuple[str, str], str] = {
    ("cli/doctor.py", "sqlite3"): "SQLite's own quick check, read-only, of a data directory whose server may be down",
}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import_time(node: ast.AST) -> Iterator[ast.stmt]:
    """The import statements that run when the module is loaded: not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import_time(child)


def loaded_by(module: str) -> set[str]:
    """What a fresh interpreter has loaded after importing `module`, less what it had before."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    return set(run.stdout.split())


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("outrider.")}


def test_every_outside_library_is_used_only_by_the_rooms_that_own_it() -> None:
    stray: list[str] = []
    for path in modules():
        place = path.relative_to(SOURCE).as_posix()
        room = place.split("/")[0].removesuffix(".py")
        for library in {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}:
            inside = library == "outrider" or (library in sys.stdlib_module_names and library not in OWNERS)
            if not inside and room not in OWNERS.get(library, set()) and (place, library) not in TOLERATED:
                stray.append(f"{place} imports {library}")
    assert not stray


def test_wire_imports_only_the_sdks_types_pydantic_msgspec_and_the_kernel() -> None:
    allowed = {"anthropic", "pydantic", "pydantic_core", "msgspec", "typing_extensions", *sys.stdlib_module_names}
    impure = {"asyncio", "socket", "subprocess", "sqlite3", "threading", "http"}
    for path in (SOURCE / "wire").rglob("*.py"):
        for name in imported(ast.parse(path.read_text())):
            first, *rest = name.split(".")
            if first == "outrider":
                assert rest[0] in {"wire", *KERNEL}, f"{path.name} imports {name}"
            else:
                assert first in allowed - impure, f"{path.name} imports {name}"
                assert first != "anthropic" or rest[:1] in (["types"], ["_types"]), f"{path.name} imports {name}"


def test_composition_roots_are_imported_only_inside_the_function_that_runs_after_the_fork() -> None:
    roots = ("outrider.server", "outrider.vaultd")
    for path in [*(SOURCE / "supervisor").rglob("*.py"), *(SOURCE / "cli").rglob("*.py"), SOURCE / "__main__.py"]:
        for statement in at_import_time(ast.parse(path.read_text())):
            names = list(imported(statement))
            assert not [name for name in names if name.startswith(roots)], f"{path}:{statement.lineno}"


def test_the_server_process_never_loads_the_vault() -> None:
    loaded = loaded_by("outrider.server")
    assert not rooms_of(loaded) & {"vault", "proxy", "vaultd", "cli"}


def test_the_vault_process_never_loads_the_server() -> None:
    loaded = loaded_by("outrider.vaultd")
    assert not rooms_of(loaded) & {"server", "api", "harness", "store", "sandbox", "models", "session", "cli"}
    assert not {name for name in loaded if name.split(".")[0] in ("asyncpg", "anthropic")}


def test_no_other_room_names_the_vaults_side_in_a_string_either() -> None:
    for path in modules():
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") in ("vault", "proxy", "vaultd", "supervisor", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.match(r"outrider\.(vault|proxy|vaultd)\b", node.value)
                assert not named, f"{path}:{node.lineno} names {node.value}"


@pytest.mark.parametrize("module", ["outrider.sandbox.zygote", "outrider.sandbox.shim"])
def test_the_sandbox_side_loads_the_standard_library_and_its_own_room_only(module: str) -> None:
    loaded = loaded_by(module)
    assert not {name for name in loaded if name.split(".")[0] not in {*sys.stdlib_module_names, "outrider"}}
    assert rooms_of(loaded) == {"sandbox"}


def test_every_module_says_what_it_owns() -> None:
    silent = [path for path in modules() if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in modules() if BANNED_NAMES & set(path.stem.strip("_").split("_"))]


def pins(name: str) -> dict[str, str]:
    """Package to exact version, from a compiled requirements file."""
    text = (ROOT / "requirements" / name).read_text()
    return {canonicalize_name(n): v for n, v in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("name", ["run.txt", "dev.txt"])
def test_requirements_pin_every_file_by_hash_and_name_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        assert re.match(r"[A-Za-z0-9._-]+==\S+( ; [^\\]+)? \\\n", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_pinned_versions_satisfy_the_projects_own_ranges() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    for line in PROJECT["project"]["dependencies"]:
        dependency = Dependency(line)
        assert dependency.specifier.contains(run[canonicalize_name(dependency.name)]), f"run scripts/lock: {line}"
    for line in PROJECT["dependency-groups"]["dev"]:
        assert not isinstance(line, str) or canonicalize_name(Dependency(line).name) in dev, f"run scripts/lock: {line}"
    assert run.items() <= dev.items()


def test_the_sdk_is_pinned_exactly() -> None:
    assert "anthropic==2.12.0" in PROJECT["project"]["dependencies"]


def test_the_version_is_one_number() -> None:
    assert outrider.__version__ == PROJECT["project"]["version"]


@pytest.mark.parametrize("settings", [Limits, Settings, EgressSettings])
def test_every_setting_is_documented_with_its_default(settings: type[Limits | Settings | EgressSettings]) -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    for field in dataclasses.fields(settings):
        row = re.search(rf"^\| `{field.name}` \| (.*?) \|", page, re.MULTILINE)
        assert row, f"docs/reference/configuration.md has no row for {field.name}"
        if isinstance(field.default, bool | int | float | str):
            assert row[1].strip("`").replace(",", "") == _written(field.default), f"the default of {field.name}"


def _written(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def test_every_environment_variable_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    text = "".join(path.read_text() for path in modules() if "testing" not in path.parts)
    for name in set(re.findall(r"\bOUTRIDER_[A-Z_]+\b", text)):
        assert f"`{name}`" in page, name


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("folder", ["how-to", "reference", "decisions"])
def test_every_page_is_listed_in_an_index(folder: str) -> None:
    index = (ROOT / "docs" / "README.md").read_text() + (ROOT / "docs" / "decisions" / "README.md").read_text()
    for page in (ROOT / "docs" / folder).glob("*.md"):
        assert page.name == "README.md" or f"{page.name})" in index, f"docs/{folder}/{page.name} is in no index"
