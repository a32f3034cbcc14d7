"""What a reporter chooses from: areas and categories."""

from asyncio import to_thread
from typing import Annotated, Any

from litestar import get
from litestar.params import Parameter
from rembuk.areas.former import since_numbered
from rembuk.areas.index import TakesLong
from rembuk.areas.lookup import Area, areas
from rembuk.contracts.categories import CATEGORIES, Category
from rembuk.events.wording import AREA_CODE
from rembuk.web.answers import Answer
from rembuk.web.commands import known_area
from rembuk.web.problem_details import documented
from rembuk.web.reading import Limit


def routes() -> list[Any]:
    @get("/v1/areas", summary="Find areas by name or code", responses=documented(400, 422))
    async def find_areas(
        q: Annotated[str, Parameter(min_length=1, max_length=100)],
        within: Annotated[str | None, Parameter(pattern=AREA_CODE)] = None,
        limit: Limit = 10,
    ) -> Answer[list[Area]]:
        known_area(within, "within")
        try:
            matching = areas().search(q, limit, within, at_once=True)
        except TakesLong:
            matching = await to_thread(areas().search, q, limit, within)
        return Answer(matching or since_numbered(q, within)[:limit])

    @get("/v1/categories", summary="Every category of problems", sync_to_thread=False)
    def list_categories() -> list[Category]:
        return list(CATEGORIES.values())

    return [find_areas, list_categories]
