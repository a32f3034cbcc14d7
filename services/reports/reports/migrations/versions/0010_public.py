"""Which problems are public, and indexes of these alone: by category, and by areas below a regency. While they are made
reading and the projection wait; accepting goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

CATEGORIES = (
    "theft", "motor_vehicle_theft", "burglary", "robbery", "assault", "gambling", "illegal_alcohol", "brawl",
    "land_dispute", "neighbour_dispute", "debt_dispute", "juvenile_delinquency", "truancy", "vandalism", "noise",
    "street_racing", "traffic_danger", "street_lighting", "abandoned_building", "illegal_levies", "fraud",
    "online_fraud", "missing_person", "suspicious_activity", "public_drunkenness", "livestock_theft", "disaster_risk",
    "fire_risk", "environmental_nuisance", "illegal_parking", "unlicensed_crowd", "other",
)  # fmt: skip
"""Those that were not sensitive in this release."""
AREA_KEYS = {"province": "left(area, 2)", "regency": "left(area, 5)", "district": "left(area, 8)", "village": "area"}
STANDING = "(coalesce(referral, status))"


def upgrade() -> None:
    op.execute("set local maintenance_work_mem = '256MB'")
    op.add_column("problem", sa.Column("public", sa.Boolean, nullable=False, server_default=sa.true()))
    for index in ("district_status", "village_status", *(f"{level}_category" for level in AREA_KEYS)):
        op.execute(f"drop index problem_{index}")
    problem = sa.table("problem", sa.column("public"), sa.column("disclosure"), sa.column("category"))
    others = sa.or_(problem.c.disclosure != "public", problem.c.category.not_in(CATEGORIES))
    op.execute(problem.update().where(others).values(public=False))
    op.alter_column("problem", "public", server_default=None)
    for level, key in AREA_KEYS.items():
        order = f"{STANDING}, reported_at, position) where public"
        if level in ("district", "village"):
            op.execute(f"create index problem_{level}_status on problem ({key}, {order}")
        op.execute(f"create index problem_{level}_category on problem ({key}, category, {order}")
    op.execute("analyze problem")
