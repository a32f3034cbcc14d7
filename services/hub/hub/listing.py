"""The SQL of a page of problems. What is counted tells first where there are any: a page of none asks no problem, and
one of an area walks along an index through those places and statuses alone that have some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from rembuk.contracts.status import Status

from hub.counting import AT_HOME, AWAY, EVERY
from hub.keeping import PROVINCE, REGENCY, VILLAGE
from hub.tables import STANDING, STATUSES

DENSE = 16
"""Where one problem in so many is in a province, its newest are found among the newest of all."""
_NEWEST = "order by reported_at desc, region desc, id desc"


@cache
def page(area: int, status: Status | None, region: bool, category: bool, cursor: bool) -> str:
    """At most $1 problems, newest first; then the parameters of the filters, and the three of a `cursor`, which names
    the problem before the page. `area` is the length of an area's code, 0 for none. Each is where it lives, unless it
    is asked for by a status that it has elsewhere."""
    given = [("area", area), ("region", region), ("category", category)]
    number = {name: f"${n}" for n, name in enumerate([name for name, asked in given if asked], 2)}
    equal = [f"{name} = {number[name]}" for name in ("region", "category") if name in number]
    together, apart = ([], []) if category else ([f"category = '{EVERY}'"], [f"category > '{EVERY}'"])
    statuses = [status] if status else [one for one in STATUSES if one not in AWAY]
    walked = [*equal, AT_HOME]
    if cursor:
        first = len(number) + 2
        walked.append(f"(reported_at, region, id) < (${first}, ${first + 1}, ${first + 2})")
    if not area:
        some = [_some("true", [*equal, *together], statuses)] if equal or status else []
        rows = _among_all([*walked, *some], statuses)
    else:
        rows = _by_place(area, number["area"], [*equal, *apart], walked, statuses)
    if area == PROVINCE:
        code = number["area"]
        dense = _some(f"area = {code}", [*equal, *together], statuses)
        here = _among_all([f"left(area, {PROVINCE}) = {code}", *walked, dense], statuses)
        rows = f"{here} union all select * from ({rows}) as sparse where not {dense}"
    return f"""select region, id, area, category, {STANDING} as status, reported_at, changed_at
               from ({rows}) as problem {_NEWEST} limit $1"""


def _some(where: str, counted: Sequence[str], statuses: Sequence[Status]) -> str:
    """Whether there are problems `where`, and at least one in DENSE of all."""
    of_all = f"sum({' + '.join(statuses)})"
    these = f"{of_all} filter (where {where})"
    return f"""exists (
        select from problem_count where level = {PROVINCE} and month = '-infinity' and {_all_of(counted)}
        having {these} > 0 and {these} * {DENSE} >= {of_all})"""


def _among_all(walked: Sequence[str], statuses: Sequence[Status]) -> str:
    """Those that are `walked`, found among the newest of all."""
    stands = f"{STANDING} in ({', '.join(map(repr, statuses))})"
    return f"(select * from problem where {stands} and {_all_of(walked)} {_NEWEST} limit $1)"


def _by_place(area: int, code: str, counted: Sequence[str], walked: Sequence[str], statuses: Sequence[Status]) -> str:
    """The newest of each status in each place that has some: a regency, or whatever lies in a district."""
    level, key = (REGENCY, "left(area, 5)") if area <= REGENCY else (VILLAGE, "area")
    inside = [f"level = {level}", "month = '-infinity'", f"area >= {code}", f"area < {code} || '/'", *counted]
    sums = ", ".join(f"sum({one}) as {one}" for one in statuses)
    each = ", ".join(f"('{one}', {one})" for one in statuses)
    return f"""
        select problem.*
        from (select area collate "default" as area, {sums} from problem_count where {_all_of(inside)} group by area)
             as counted
        cross join lateral (values {each}) as place (standing, problems)
        cross join lateral (
            select * from problem where {key} = counted.area and {STANDING} = place.standing and {_all_of(walked)}
            {_NEWEST} limit $1) as problem
        where place.problems > 0"""


def _all_of(conditions: Sequence[str]) -> str:
    return " and ".join(conditions)
