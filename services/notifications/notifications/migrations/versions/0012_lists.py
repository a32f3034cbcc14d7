"""Indexes in the order of every list: of an area at each level, of a category, and of an alert's deliveries in a state.
While they are made the projection waits, and accepting and reading go on."""

from alembic import op

revision = "0012"
down_revision = "0011"

_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    op.execute("drop index alert_area")
    for level, key in _KEYS.items():
        op.execute(f"create index alert_{level} on alert ({key}, position)")
    op.execute("create index alert_category on alert (category, position)")
    op.execute("drop index delivery_of_alert")
    op.execute("create index delivery_of_alert on delivery (alert_id, state, number)")
    for table in ("alert", "delivery"):
        op.execute(f"analyze {table}")
