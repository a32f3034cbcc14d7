"""Migrations, and the kernel's SQL, that were released stay as they are, and nothing that they run can change."""

import ast
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASED = Path(__file__).with_name("released_migrations.sha256")
MIGRATIONS = sorted((ROOT / "services").glob("*/*/migrations/versions/*.py"))
KERNEL = sorted((ROOT / "shared/rembuk/postgres/kernel").glob("*.sql"))


def test_nothing_that_was_released_is_altered() -> None:
    """What is new, once it is finished, is added by what the second assertion says."""
    noted = dict(reversed(line.split()) for line in RELEASED.read_text().splitlines())
    files = {str(path.relative_to(ROOT)): path for path in (*MIGRATIONS, *KERNEL)}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    altered = [name for name, digest in noted.items() if found.get(name) != digest]
    assert altered == [], "these were released: take the change back, and make it in a new migration"
    new = sorted(found.keys() - noted.keys())
    assert new == [], f"to be released: sha256sum {' '.join(new)} >> {RELEASED.relative_to(ROOT)}"


def test_a_migration_imports_nothing_of_ours() -> None:
    """It would be today's, whenever the migration was released."""
    allowed = {"alembic", "sqlalchemy", *sys.stdlib_module_names}
    imported = {path: set(modules(ast.parse(path.read_text()))) for path in MIGRATIONS}
    assert {str(path): names - allowed for path, names in imported.items() if names - allowed} == {}


def modules(code: ast.Module) -> list[str]:
    """The packages that a file imports from."""
    names: list[str] = []
    for node in ast.walk(code):
        match node:
            case ast.Import(names=aliases):
                names += [alias.name for alias in aliases]
            case ast.ImportFrom(module=module):
                names.append(module or ".")
    return [name.partition(".")[0] for name in names]


def test_the_files_of_the_kernel_are_numbered_without_a_gap() -> None:
    assert [path.name.partition("_")[0] for path in KERNEL] == [f"{number:04d}" for number in range(len(KERNEL))]
