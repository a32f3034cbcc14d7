"""Indexes in the order of every list: of an area at each level, of a forum and of a status; and room for a row's next
version, which then needs no entry in them. While they are made the projection waits; accepting and reading go on."""

from alembic import op

revision = "0010"
down_revision = "0009"

_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}
_LISTS = {
    "forum": "position",
    "meeting": "status, position",
    "commitment": "status, position",
    "open_problem": "position",
}


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    for table, order in _LISTS.items():
        op.execute(f"drop index {table}_area")
        for level, key in _KEYS.items():
            op.execute(f"create index {table}_{level} on {table} ({key}, {order})")
    for table in ("meeting", "commitment"):
        op.execute(f"drop index {table}_forum")
        op.execute(f"create index {table}_forum on {table} (forum_id, status, position)")
        op.execute(f"create index {table}_status on {table} (status, position)")
    for table in _LISTS:
        op.execute(f"alter table {table} set (fillfactor = 85)")
        op.execute(f"analyze {table}")
