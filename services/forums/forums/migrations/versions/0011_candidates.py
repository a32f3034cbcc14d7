"""The lists of candidates have those alone in their indexes. A problem is written once when it is reported and enters
them when it is verified: of most problems there never is more."""

from alembic import op

revision = "0011"
down_revision = "0010"

_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}
_CANDIDATE = "open and not away and status <> 'reported'"


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    for level, key in _KEYS.items():
        op.execute(f"drop index open_problem_{level}")
        op.execute(f"create index open_problem_{level} on open_problem ({key}, position) where {_CANDIDATE}")
