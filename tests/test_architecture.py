"""The architecture as rules: import-linter keeps them, and each is broken here once to show that it bites."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rembuk.embedded.region import newest_shape

ROOT = Path(__file__).parents[1]
SERVICES = ("reports", "forums", "notifications", "hub")
PACKAGES = {
    "rembuk": "shared",
    "reports": "services/reports",
    "forums": "services/forums",
    "notifications": "services/notifications",
    "hub": "services/hub",
    "rembuk_cli": "cli",
}
ROOMS = {
    "__init__", "__main__", "api", "app", "commands", "domain", "migrations", "projection", "queries", "reactions",
    "tables", "worker",
}  # fmt: skip
OWN_ROOMS = {
    "notifications": {"channels", "contacts", "delivery", "phrases"},
    "reports": {"briefs", "directory", "listing", "retention"},
    "hub": {
        "answering",
        "counting",
        "deliberating",
        "forwarding",
        "keeping",
        "listing",
        "mirrors",
        "nats_server",
        "regions",
        "watching",
    },
}
PUBLIC_IN_SPITE = {"_replace", "_asdict", "_exit"}
"""Names of the standard library that begin with _ lest they meet a field's, and os._exit."""
UNUSED_ROOMS = {"hub": {"commands", "reactions"}}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their import rules, to be broken."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package, folder in PACKAGES.items():
        shutil.copytree(ROOT / folder / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_rules_of_imports_are_kept(copy: Path) -> None:
    said = lint(copy)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("reports/reactions.py", "import forums.domain", "none imports another"),
        ("notifications/queries.py", "import reports.tables", "none imports another"),
        ("hub/projection.py", "import reports.projection", "none imports another"),
        ("rembuk/log/relay.py", "import reports.domain", "knows no service"),
        ("rembuk/log/handling.py", "import rembuk_cli.commands.up", "knows no service"),
        ("rembuk_cli/commands/up.py", "import forums.api", "it imports none"),
        ("rembuk_cli/commands/up.py", "import rembuk_cli.commands.down", "stands by itself"),
        ("rembuk_cli/home/directory.py", "import rembuk_cli.home.hub_directory", "in a circle"),
        ("reports/commands.py", "import reports.domain", "run one way"),
        ("forums/tables.py", "import forums.api", "run one way"),
        ("notifications/projection.py", "import notifications.reactions", "run one way"),
        ("hub/watching.py", "import hub.regions", "run one way"),
        ("reports/briefs.py", "import reports.reactions", "run one way"),
        ("reports/domain/life.py", "import time", "is pure"),
        ("hub/domain.py", "import asyncio", "is pure"),
        ("forums/domain/meeting.py", "import asyncpg", "is pure"),
        ("notifications/domain/delivery.py", "import secrets", "is pure"),
        ("reports/domain/referring.py", "import rembuk.log.event_log", "is pure"),
        ("forums/commands.py", "import rembuk.sealing.vault", "is pure"),
        ("rembuk/events/decider.py", "import time", "is pure"),
    ],
)
def test_a_breach_is_found(copy: Path, file: str, line: str, rule: str) -> None:
    with (copy / file).open("a") as source:
        source.write(f"\n{line}\n")
    said = lint(copy)
    assert said.returncode != 0
    assert rule in said.stdout.partition("Broken contracts")[2], said.stdout


def test_each_floor_of_a_house_knows_nothing_above_it_or_beside_it_and_each_room_has_a_floor(copy: Path) -> None:
    """The kernel, and the command line."""
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    houses = {one["containers"][0]: one["layers"] for one in linted if one.get("exhaustive")}
    assert set(houses) == {"rembuk", "rembuk_cli"}
    expected = set()
    for house, layers in houses.items():
        (copy / house / "attic.py").touch()
        expected.add(f"- {house}.attic")
        floors = [floor.split(" | ") for floor in layers]
        for n, floor in enumerate(floors):
            for room in floor:
                path = copy / house / room
                with (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).open("a") as source:
                    for other in [*(one for above in floors[:n] for one in above), *floor]:
                        if other != room:
                            source.write(f"\nimport {house}.{other}\n")
                            expected.add(f"{house}.{room} is not allowed to import {house}.{other}")
    said = lint(copy).stdout
    assert {line for line in expected if line not in said} == set()


@pytest.mark.parametrize("service", SERVICES)
def test_siblings_have_the_same_rooms(service: str) -> None:
    folder = ROOT / PACKAGES[service] / service
    rooms = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms == (ROOMS | OWN_ROOMS.get(service, set())) - UNUSED_ROOMS.get(service, set())


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).exists()]


def test_every_file_opens_with_a_sentence_that_says_what_it_is_for() -> None:
    silent = [path for path in sources() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "misc", "manager"}
    assert [path for path in sources() if path.stem in vague] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_migrations_file_begins_with_its_revision_and_they_follow_one_another(service: str) -> None:
    """`rembuk up` knows the newest shape of a database by the names of these files."""
    before = "None"
    for path in sorted((ROOT / PACKAGES[service] / service / "migrations/versions").glob("*.py")):
        told = dict(re.findall(r'^(revision|down_revision) = "?(\w+)"?$', path.read_text(), re.MULTILINE))
        assert told == {"revision": path.name.partition("_")[0], "down_revision": before}
        before = told["revision"]
    assert newest_shape(service) == before


def private_names(source: str) -> list[str]:
    """Those that another file keeps to itself: imported, asked of anything but self or cls, or set by their text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=module, names=names):
                found += [*(module or "").split("."), *(one.name for one in names)]
            case ast.Import(names=names):
                found += [part for one in names for part in one.name.split(".")]
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=attr):
                found.append(attr)
            case ast.Call(func=ast.Name(id=how) | ast.Attribute(attr=how), args=[_, ast.Constant(value=str(name)), *_]):
                found += [name] * how.endswith("attr")
    return [one for one in found if re.fullmatch(r"_[^_].*", one) and one not in PUBLIC_IN_SPITE]


@pytest.mark.parametrize(
    "line",
    [
        "from rembuk.log.relay import _PubAck", "from rembuk._relay import Relay", "import rembuk._relay",
        "vault._ask()", "vault.pool._closed = True", "monkeypatch.setattr(vault, '_ask', 1)", "getattr(vault, '_ask')",
    ],
)  # fmt: skip
def test_a_private_name_is_found(line: str) -> None:
    assert private_names(line)
    assert private_names("self._mine = parts._replace(path='').geturl()") == []


def test_no_test_knows_a_private_name() -> None:
    """What a test knows, nobody may change."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert {str(file): names for file in tests if (names := private_names(file.read_text()))} == {}


BUILT = """
import sys
import tomllib
from importlib import import_module
from rembuk.settings import Settings
key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
for service in sys.argv[1:]:
    told = {"REMBUK_REGION": "jatim", "REMBUK_REGION_KEY": key, "REMBUK_LOG_KEY": key}
    told[f"REMBUK_{service.upper()}_DATABASE_URL"] = "postgresql://127.0.0.1/nowhere"
    assert import_module(f"{service}.app").build(Settings.load(service, told)).openapi_schema.paths
"""


def test_no_api_uses_what_its_framework_is_about_to_drop() -> None:
    """Each is built, for what is deprecated is told as routes are registered."""
    apis = ("reports", "forums", "notifications", "hub")
    built = [sys.executable, "-W", "error::DeprecationWarning", "-c", BUILT, *apis]
    done = subprocess.run(built, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_measure_is_run_by_make_bench_and_thus_by_its_tiny_form() -> None:
    measuring = {file.stem for file in (ROOT / "bench").glob("*.py") if "\ndef run(" in file.read_text()}
    assert measuring == set(re.findall(r'^    "(\w+)",$', (ROOT / "bench/__main__.py").read_text(), re.MULTILINE))


def test_a_command_writes_through_its_terminal_alone() -> None:
    """Else what came from outside reaches a terminal as it is."""
    past = re.compile(
        r"(?<![.\w])print\(|sys\.std(out|err)\.write|rich\.markup|rich import markup|rich\.console|\becho\("
    )
    found = {
        file.name: line
        for file in (ROOT / "cli/rembuk_cli").rglob("*.py")
        for line in file.read_text().splitlines()
        if file != ROOT / "cli/rembuk_cli/terminal/writing.py" and past.search(line)
    }
    assert found == {}


ROWS_OF_A_SERVICE = {"erased"}
"""Tables that the kernel makes and a service fills and reads, as a part of its read model."""


def kernel_tables() -> set[str]:
    scripts = (ROOT / "shared/rembuk/postgres/kernel").glob("*.sql")
    made = re.compile(r"^create table (?:if not exists )?([\w.]+)", re.MULTILINE)
    return {table for script in scripts for table in made.findall(script.read_text())} - ROWS_OF_A_SERVICE


def statements_on(tables: set[str], source: str) -> list[str]:
    """A statement is a text that is no docstring, has an SQL verb in it, and names a table where SQL names one; what is
    put into a text has no letters here. A `Table` of SQLAlchemy is told by its first argument."""
    named = "|".join(map(re.escape, sorted(tables)))
    verb = re.compile(r"\b(select|insert into|update|delete from|truncate|lock table|copy)\b", re.IGNORECASE)
    place = re.compile(
        rf"\b(?:from|join|into|update|table|truncate|only|copy)\s+(?:public\.)?(?:{named})\b", re.IGNORECASE
    )
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings | inside:
                pass
            case ast.JoinedStr(values=parts):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "" for part in parts)
            case ast.Call(func=ast.Name(id="Table"), args=[ast.Constant(value=str(name)), ast.Name(), *_]) if (
                name in tables
            ):
                found.append(name)
                continue
            case _:
                continue
        text = re.sub(r"\{\w*\}", "", text)  # of a template
        if verb.search(text) and place.search(text):
            found.append(text)
    return found


@pytest.mark.parametrize(
    "line",
    [
        'HEAD = "select position from log.head"', 'ask(f"select position from {schema}checkpoint where id = {name!r}")',
        'ask("select position from {}checkpoint".format(schema))', 'ask("delete from public.quarantine")',
        'ask("with gone as (delete from delivery returning id) select id from gone join log.event using (id)")',
        'witnessed = Table("witnessed", beside)',
    ],
)  # fmt: skip
def test_a_statement_on_a_table_of_the_kernel_is_found(line: str) -> None:
    assert {"log.event", "log.head", "checkpoint", "vault_key", "webhook", "witness"} < kernel_tables()
    assert statements_on(kernel_tables(), line)
    assert statements_on(kernel_tables(), 'def f():\n    """select position from log.head"""') == []
    assert statements_on(kernel_tables(), 'say("an event from quarantine"); ask("select id from problem")') == []


def test_the_tables_of_the_kernel_are_asked_by_the_kernel_alone() -> None:
    """What others need, they ask of `standing` in the room that the table belongs to."""
    others = [ROOT / "cli", *(ROOT / PACKAGES[service] / service for service in SERVICES)]
    files = [file for folder in others for file in folder.rglob("*.py") if "migrations" not in file.parts]
    assert len(files) > 150
    found = {str(file.relative_to(ROOT)): statements_on(kernel_tables(), file.read_text()) for file in files}
    assert {file: statements for file, statements in found.items() if statements} == {}


NAMED_BY_EACH_SERVICE = {"Problem", "ProblemPage"}
"""What the published API of several services names, each with its own fields."""


def test_a_public_class_name_has_one_meaning() -> None:
    """Whoever meets a name knows what it is, and finds it by one search."""
    defined: dict[str, list[str]] = {}
    for file in sources():
        package, *_ = file.relative_to(ROOT).parts
        if package not in {"shared", "services", "cli"} or "migrations" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert len(defined) > 300
    twice = {name: files for name, files in defined.items() if len(files) > 1}
    assert {name: files for name, files in twice.items() if name not in NAMED_BY_EACH_SERVICE} == {}
    assert twice.keys() == NAMED_BY_EACH_SERVICE
