"""Tools that know places: towns by name, and what is at a point. All offline."""

from typing import Annotated

from pydantic import Field

from img2loc.core.gazetteer import places_named
from img2loc.core.places import place_at
from img2loc.core.types import Location, Photo
from img2loc.locators.agent.tools import Arguments, ToolResult

_MOST = 20


class FindPlaceArguments(Arguments):
    """A name, as a sign may have it."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    country: Annotated[str, Field(max_length=60, description="its name or ISO code")] = ""


class FindPlace:
    """Towns of a name."""

    name, searches = "find_place", True
    description = "Look a town up by name: every one that fits, the most populous first."
    arguments = FindPlaceArguments

    def run(self, photo: Photo, arguments: FindPlaceArguments) -> ToolResult:
        """Coordinates, region, country and, where known, population of each."""
        found = places_named(arguments.name, arguments.country)
        if not found:
            where = f" in {arguments.country}" if arguments.country else ""
            return ToolResult(f"no town {arguments.name!r}{where} is known")
        lines = []
        for at, population in found[:_MOST]:
            place = place_at(at)
            named = f"{place.name}, {place.region}, {place.country}" if place else arguments.name
            people = f", population {population:,}" if population else ""
            lines.append(f"({at.lat:.4f}, {at.lon:.4f}) {named}{people}")
        if len(found) > _MOST:
            lines.append(f"and {len(found) - _MOST} more: name the country")
        return ToolResult("\n".join(lines), points=tuple(at for at, _ in found[:_MOST]))


class DescribePlaceArguments(Arguments):
    """A point in degrees."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class DescribePlace:
    """What is at a point."""

    name, searches = "describe_place", False
    description = "Say which town, region and country a point is in."
    arguments = DescribePlaceArguments

    def run(self, photo: Photo, arguments: DescribePlaceArguments) -> ToolResult:
        """The nearest town and how far away it is."""
        at = Location(arguments.lat, arguments.lon)
        place = place_at(at)
        if place is None:
            return ToolResult("no town within 100 km: sea, ice or desert", points=(at,))
        return ToolResult(
            f"{place.distance_km:g} km from {place.name}, {place.region}, {place.country}"
            f" ({place.country_code})",
            points=(at,),
        )
