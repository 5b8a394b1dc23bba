"""Captions: what a template makes of the place list, and what it refuses."""

from pathlib import Path

import pytest

from img2loc.core import paths
from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Location
from img2loc.data import recipes
from img2loc.data.captions import CaptionSource

COUNTRIES = "code,country,region,city,lat,lon\n" \
    "FR,France,,Paris,48.85,2.35\nGE,Georgia,,Tbilisi,41.69,44.83\n" \
    "US,United States,,Chicago,41.88,-87.63\nUS-GA,United States,Georgia,Atlanta,33.75,-84.39\n" \
    "US-IL,United States,Illinois,Chicago,41.88,-87.63\n"  # fmt: skip
CITIES = "country_code,region_code,city,region,lat,lon,population,geonameid\n" \
    "FR,,Paris,Île-de-France,48.8534,2.3488,2138551,1\n" \
    "FR,,Saint-Denis,Réunion,-20.88,55.45,3000,2\n" \
    "FR,,Saint-Denis,Île-de-France,48.94,2.36,2000,3\nGE,,Tbilisi,,41.6941,44.8337,1049498,4\n" \
    "US,US-IL,Chicago,Illinois,41.85,-87.65,2664452,5\n" \
    "US,US-GA,Atlanta,Georgia,33.749,-84.388,498715,6\n" \
    "US,US-IL,Springfield,Illinois,39.8,-89.64,114394,7\n"  # fmt: skip


@pytest.fixture
def places(tmp_path: Path) -> Path:
    (tmp_path / "countries.csv").write_text(COUNTRIES, encoding="utf-8")
    (tmp_path / "cities.csv").write_text(CITIES, encoding="utf-8")
    return tmp_path


def items(source: CaptionSource) -> dict[str, Item]:
    listed = [item for item in source if isinstance(item, Item)]
    assert len(listed) == len(source) == len({item.id for item in listed})
    return {item.id: item for item in listed}


def test_countries(places: Path) -> None:
    found = items(CaptionSource(places, "In {country}.", "country"))
    assert list(found) == ["FR", "GE", "US"]
    assert found["FR"].text == "In France."
    assert found["FR"].location == Location(48.85, 2.35)


def test_a_state_and_a_country_of_one_name_are_told_apart(places: Path) -> None:
    found = items(CaptionSource(places, "In {country}.", "country", split=["US"]))
    assert {key: item.text for key, item in found.items()} == {
        "FR": "In France.",
        "GE": "In Georgia.",
        "US-GA": "In Georgia, United States.",
        "US-IL": "In Illinois, United States.",
    }


def test_cities_name_town_region_and_country(places: Path) -> None:
    found = items(CaptionSource(places, "{city}/{region}/{country}", "city"))
    assert found["FR/Paris"].text == "Paris/Île-de-France/France"
    assert found["FR/Paris"].label == "Paris, Île-de-France, France"
    assert found["FR/Paris"].location == Location(48.8534, 2.3488)
    assert found["GE/Tbilisi"].text == "Tbilisi/Georgia/Georgia"
    assert found["GE/Tbilisi"].label == "Tbilisi, Georgia"
    assert [key for key in found if key.startswith("US/")] == [
        "US/Chicago",
        "US/Atlanta",
        "US/Springfield",
    ]


def test_two_towns_of_one_name_in_one_country_have_two_ids(places: Path) -> None:
    found = items(CaptionSource(places, "{city}, {region}", "city"))
    assert found["FR/Saint-Denis"].text == "Saint-Denis, Réunion"
    assert found["FR/Saint-Denis, Île-de-France"].location == Location(48.94, 2.36)


def test_most_takes_the_most_populous_of_each_unit(places: Path) -> None:
    assert list(items(CaptionSource(places, "{city}", "city", most=1))) == [
        "FR/Paris",
        "GE/Tbilisi",
        "US/Chicago",
    ]
    split = items(CaptionSource(places, "{city}", "city", most=1, split=["US"]))
    assert list(split) == ["FR/Paris", "GE/Tbilisi", "US-GA/Atlanta", "US-IL/Chicago"]
    assert split["US-GA/Atlanta"].label == "Atlanta, Georgia, United States"


@pytest.mark.parametrize(
    ("template", "level", "said"),
    [
        ("A photo.", "city", "names no place"),
        ("A photo in {town}.", "city", r"'town'.*\{city\}, \{region\}, \{country\}"),
        ("A photo in {city}.", "country", r"'city'.*\{country\}, \{region\}"),
        ("A photo in {}.", "city", "names ''"),
        ("A photo in {city", "city", "cannot be read"),
        ("A photo in {city.__class__}.", "city", "__class__"),
        ("A photo in {city:>99}.", "city", "It may name"),
        ("A photo in {city}.", "town", "level is 'town'"),
    ],
)
def test_a_template_names_places_and_nothing_else(
    places: Path, template: str, level: str, said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        CaptionSource(places, template, level)


def test_mistakes_are_reported(places: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no regions of 'FR'.*US"):
        CaptionSource(places, "{city}", "city", split=["FR"])
    with pytest.raises(SourceError, match="most is 0"):
        CaptionSource(places, "{city}", "city", most=0)
    with pytest.raises(SourceError, match=r"elsewhere has no countries\.csv\. Name a folder"):
        CaptionSource(tmp_path / "elsewhere", "{city}", "city")
    (places / "cities.csv").write_text("country_code,city\nFR,Paris\n")
    with pytest.raises(SourceError, match="no column for the region_code"):
        CaptionSource(places, "{city}", "city")
    (places / "cities.csv").write_text(CITIES.replace("GE,,", "FR,,"))
    with pytest.raises(SourceError, match="no city of GE"):
        CaptionSource(places, "{city}", "city")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "cities.csv",
            "2138551",
            '"1,000"',
            r"cities\.csv, line 2: population is '1,000'.*digits only",
        ),
        (
            "cities.csv",
            "2138551",
            "",
            r"cities\.csv, line 2: population is ''.*0 if unknown",
        ),
        ("cities.csv", "2138551", "1_000", r"cities\.csv, line 2: population is '1_000'"),
        ("cities.csv", ",498715,6", "", r"cities\.csv, line 7: population is ''"),
        (
            "cities.csv",
            "Tbilisi,",
            "Tbilisi,,",
            r"cities\.csv, line 5: more cells than columns.*[Qq]uote",
        ),
        ("cities.csv", "Tbilisi", " ", r"cities\.csv, line 5: city is empty"),
        ("cities.csv", "41.6941", "north", r"cities\.csv, line 5: .*'north'.*degrees"),
        (
            "cities.csv",
            "GE,,",
            "XX,,",
            r"cities\.csv, line 5: country_code 'XX' is not in countries\.csv",
        ),
        ("countries.csv", "GE,", "FR,", r"countries\.csv, line 3: code 'FR' is in .*line 2 too"),
        ("countries.csv", "Georgia,,", ",,", r"countries\.csv, line 3: country is empty"),
        (
            "countries.csv",
            COUNTRIES.partition("\n")[2],
            "",
            r"countries\.csv is empty",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    places: Path, name: str, old: str, new: str, said: str
) -> None:
    text = (places / name).read_text(encoding="utf-8")
    assert old in text
    (places / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SourceError, match=said):
        CaptionSource(places, "{city}", "city")


def test_a_city_of_no_listed_region_is_not_dropped_in_silence(places: Path) -> None:
    (places / "cities.csv").write_text(CITIES.replace("US-GA", "US-XX"), encoding="utf-8")
    with pytest.raises(SourceError, match=r"line 7: region_code 'US-XX' is not in countries\.csv"):
        CaptionSource(places, "{city}", "city", split=["US"])


def test_a_list_saved_by_a_spreadsheet_is_the_same_list(places: Path) -> None:
    """With a byte-order mark and CR LF."""
    plain = CaptionSource(places, "{city}, {region}", "city")
    for name, text in (("countries.csv", COUNTRIES), ("cities.csv", CITIES)):
        (places / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert list(CaptionSource(places, "{city}, {region}", "city")) == list(plain)


def test_the_fingerprint_follows_what_the_captions_are_made_of(places: Path) -> None:
    prints = [
        CaptionSource(places, template, level, most, split).fingerprint
        for template, level, most, split in [
            ("{country}", "country", 30, ()), ("in {country}", "country", 30, ()),
            ("{country}", "city", 30, ()), ("{country}", "city", 2, ()),
            ("{country}", "city", 2, ["US"]),
        ]
    ]  # fmt: skip
    assert len(set(prints)) == 5
    assert CaptionSource(places, "{country}", "country").fingerprint == prints[0]
    (places / "cities.csv").write_text(CITIES.replace("48.94", "48.93"))
    assert CaptionSource(places, "{country}", "country").fingerprint != prints[0]


@pytest.mark.parametrize(("states", "units"), [("", 250), ("-us-states", 300)])
def test_the_recipes_that_ship(states: str, units: int) -> None:
    countries, cities = (recipes.find(name + states) for name in ("countries", "cities"))
    assert {countries.encoder, cities.encoder} == {"streetclip"}
    assert {countries.of, cities.of} == {"texts"}
    first, second = countries.source(), cities.source()
    assert isinstance(first, CaptionSource)
    assert isinstance(second, CaptionSource)
    assert len(first) == units
    listed = items(second)
    assert {key.partition("/")[0] for key in listed} == set(items(first))
    assert items(first)["FR"].text == "A Street View photo in France."
    assert (
        listed["FR/Paris"].text
        == "A Street View photo close to the town of Paris in the region of Île-de-France in"
        " France."
    )
    texts = [item.text for item in listed.values()]
    assert len(set(texts)) == len(texts)


def test_recipes_say_what_is_wrong(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        f'of = "texts"\npath = "{paths.folder("index") / "places"}"\ntemplate = "{{nowhere}}"\n'
    )
    with pytest.raises(SourceError, match="nowhere"):
        recipes.find(str(recipe)).source()
    recipe.write_text("most = 'all'\n")
    with pytest.raises(SourceError, match="should be a int"):
        recipes.find(str(recipe))


def test_only_the_countries_of_a_list_under_its_names(places: Path) -> None:
    only = places / "only.csv"
    only.write_text("code,country\nUS,the States\nFR,Gaul\n")
    countries = CaptionSource(places, "In {country}.", "country", only=only)
    assert [item.text for item in items(countries).values()] == ["In Gaul.", "In the States."]
    cities = CaptionSource(places, "{city}, {country}", "city", split=["US"], only=only)
    assert items(cities)["US-GA/Atlanta"].text == "Atlanta, the States"
    assert not [key for key in items(cities) if key.startswith("GE")]
    assert countries.fingerprint != CaptionSource(places, "In {country}.", "country").fingerprint
    only.write_text("code,country\nXX,Nowhere\n")
    with pytest.raises(SourceError, match=r"only\.csv, line 2: code 'XX' is repeated, or not in"):
        CaptionSource(places, "In {country}.", "country", only=only)


def test_the_countries_and_captions_of_streetclips_paper() -> None:
    """193 countries, five of which it calls otherwise than we do; its evaluation's captions."""
    countries = items(CaptionSource(*_of("countries-paper")))
    assert len(countries) == 193
    texts = {item.text for item in countries.values()}
    for name in ("Cabo Verde", "Czech Republic", "Côte d'Ivoire", "East Timor", "Swaziland"):
        assert f"A Street View photo in {name}." in texts
    assert not {"AQ", "BV", "HM", "UM", "HK", "XK"} & set(countries)
    cities = items(CaptionSource(*_of("cities-paper")))
    assert {key.partition("/")[0] for key in cities} == set(countries)
    assert cities["FR/Paris"].text == "A Street View photo from Paris."


def _of(name: str) -> tuple[Path, str, str, int, tuple[str, ...], Path | None]:
    recipe = recipes.find(name)
    assert recipe.path is not None
    return recipe.path, recipe.template, recipe.level, recipe.most, recipe.split, recipe.only
