"""The hierarchy: a city of the chosen country, probabilities that add up, the command line too."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from img2loc.config import galleries, requirements
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError, GalleryError, WrongEncoder
from img2loc.core.types import Embedding, Embeddings, Item, Location, Photo, Rejected
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from img2loc.locators.hierarchy import Hierarchy
from tests.conftest import Cli, MakePhoto, configure

COUNTRIES, EACH, DIM = 12, 5, 8


class Given:
    """An encoder whose vectors are given, by the photo's name."""

    name, dim, scale = "given", DIM, 20.0

    def __init__(self, rows: Embeddings) -> None:
        self._rows = rows

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for photo in photos:
            yield (
                self._rows[int(photo.path.stem)]
                if photo.path.stem.isdigit()
                else Rejected(str(photo.path), "no such file")
            )


def unit(rng: np.random.Generator, count: int) -> Embeddings:
    rows = rng.normal(size=(count, DIM)).astype(np.float32)
    unit_rows: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def captions(folder: Path, rows: Embeddings, ids: Sequence[str], name: str = "given") -> Gallery:
    items = [
        Item(identity, Location(number % 80, number % 170), label=f"label {identity}")
        for number, identity in enumerate(ids)
    ]
    return Gallery.build(
        folder,
        [(rows, table_of(items))],
        encoder={"name": name, "alias": name, "table": {}},
        rows=len(items),
    )


def ids_of(countries: int = COUNTRIES, each: int = EACH) -> tuple[list[str], list[str]]:
    units = [f"C{number}" for number in range(countries)]
    return units, [
        f"{unit}/town {number}" for number in range(each) for unit in units
    ]  # Not sorted by country.


@given(seed=st.integers(0, 2**32 - 1), soft=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_answer_is_the_best_city_of_the_best_country(
    tmp_path_factory: pytest.TempPathFactory, seed: int, soft: bool
) -> None:
    rng = np.random.default_rng(seed)
    units, towns = ids_of()
    by_name, by_town, photos = unit(rng, len(units)), unit(rng, len(towns)), unit(rng, 4)
    folder = tmp_path_factory.mktemp("hierarchy")
    locator = Hierarchy(
        Given(photos),
        captions(folder / "a", by_name, units),
        captions(folder / "b", by_town, towns),
        soft,
        3,
    )
    guesses = list(locator.locate([Path(f"{number}.jpg") for number in range(4)]))
    for query, guess in zip(photos.astype(np.float64), guesses, strict=True):
        country, joint = in_plain_words(by_name @ query, by_town @ query, towns, soft)
        own = [number for number, town in enumerate(towns) if town.startswith(f"{country}/")]
        ranked = sorted(own, key=lambda number: -(by_town[number] @ query))[:3]
        assert [entry.id for entry in guess.neighbours.nearest] == [
            towns[number] for number in ranked
        ]
        assert guess.location == Location(ranked[0] % 80, ranked[0] % 170)
        assert [entry.probability for entry in guess.neighbours.nearest] == pytest.approx(
            [joint[n] for n in ranked], rel=1e-4
        )
        assert guess.detail.startswith(
            f"label {country} ({100 * sum(joint[number] for number in own):.0f}% of 12)"
        )


def in_plain_words(
    names: Embeddings, towns: Embeddings, ids: Sequence[str], soft: bool
) -> tuple[str, list[float]]:
    """The country and every city's probability, term by term, as the docstring says it."""
    units = ids_of()[0]
    total = sum(np.exp(20 * names))
    alone = {unit: np.exp(20 * names[number]) / total for number, unit in enumerate(units)}
    raw = [float(np.exp(20 * similarity)) for similarity in towns]
    inside = {
        unit: sum(value for value, town in zip(raw, ids, strict=True) if town.split("/")[0] == unit)
        for unit in units
    }
    joint = [
        alone[town.split("/")[0]] * value / inside[town.split("/")[0]]
        for value, town in zip(raw, ids, strict=True)
    ]
    if not soft:
        return max(alone, key=lambda unit: alone[unit]), joint
    joint = [(first + value / sum(raw)) / 2 for first, value in zip(joint, raw, strict=True)]
    belief = {
        unit: sum(
            value for value, town in zip(joint, ids, strict=True) if town.split("/")[0] == unit
        )
        for unit in units
    }
    return max(belief, key=lambda unit: belief[unit]), joint


def test_soft_follows_the_cities_where_the_countries_hardly_differ(tmp_path: Path) -> None:
    photo = np.eye(DIM, dtype=np.float32)[:1]
    names = np.zeros((2, DIM), np.float32)
    names[:, 0], names[:, 1] = (0.51, 0.50), (np.sqrt(1 - 0.51**2), np.sqrt(1 - 0.5**2))
    towns = np.zeros((2, DIM), np.float32)
    towns[:, 0], towns[:, 2] = (0.1, 0.9), (np.sqrt(1 - 0.1**2), np.sqrt(1 - 0.9**2))
    both = (
        captions(tmp_path / "a", names, ["A", "B"]),
        captions(tmp_path / "b", towns, ["A/one", "B/two"]),
    )
    chosen = [
        next(Hierarchy(Given(photo), *both, soft).locate(["0.jpg"])).neighbours.nearest[0].id
        for soft in (False, True)
    ]
    assert chosen == ["A/one", "B/two"]


def test_similarities_that_would_underflow_alone_still_add_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    units, towns = ids_of()
    encoder = Given(unit(rng, 1))
    encoder.scale = 5000.0
    both = (
        captions(tmp_path / "a", unit(rng, 12), units),
        captions(tmp_path / "b", unit(rng, 60), towns),
    )
    guess = next(Hierarchy(encoder, *both, nearest=5).locate(["0.jpg"]))
    assert sum(entry.probability or 0 for entry in guess.neighbours.nearest) == pytest.approx(
        1, abs=1e-5
    )


def test_an_unreadable_photo_keeps_its_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    units, towns = ids_of()
    both = (
        captions(tmp_path / "a", unit(rng, 12), units),
        captions(tmp_path / "b", unit(rng, 60), towns),
    )
    guesses = list(Hierarchy(Given(unit(rng, 2)), *both).locate(["0.jpg", "gone.jpg", "1.jpg"]))
    assert [guess.status for guess in guesses] == ["located", "unreadable", "located"]
    assert guesses[1].detail == "no such file"


def test_galleries_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    units, towns = ids_of()
    encoder = Given(unit(rng, 1))
    names, cities = (
        captions(tmp_path / "a", unit(rng, 12), units),
        captions(tmp_path / "b", unit(rng, 60), towns),
    )
    with pytest.raises(WrongEncoder, match="built by the encoder 'other'"):
        Hierarchy(encoder, names, captions(tmp_path / "c", unit(rng, 60), towns, "other"))
    with pytest.raises(WrongEncoder, match="built by the encoder 'other'"):
        Hierarchy(encoder, captions(tmp_path / "d", unit(rng, 12), units, "other"), cities)
    with pytest.raises(GalleryError, match="has no city of 'C3'"):
        kept = [town for town in towns if not town.startswith("C3/")]
        Hierarchy(encoder, names, captions(tmp_path / "e", unit(rng, len(kept)), kept))
    with pytest.raises(GalleryError, match="has cities of 'C11'"):
        Hierarchy(encoder, captions(tmp_path / "f", unit(rng, 11), units[:11]), cities)
    with pytest.raises(ConfigError, match="nearest is 0"):
        Hierarchy(encoder, names, cities, nearest=0)


@pytest.mark.parametrize(
    "name",
    ["streetclip", "streetclip-soft", "streetclip-states", "streetclip-flat", "clip-hierarchy"],
)
def test_without_weights_it_is_said_what_is_missing_how_large_and_what_gets_it(
    run: Cli, make_photo: MakePhoto, name: str
) -> None:
    code, out, err = run("ask", "--locator", name, str(make_photo()))
    assert (code, out) == (1, "")
    assert "1.7 GB" in err
    assert ("CC BY-NC 4.0" in err) == ("street" in name)
    assert f"img2loc setup {name}" in err
    wanted = requirements.setup_needs(Config.load(), name)
    assert wanted[0].files is not None
    assert {need.gallery for need in wanted if need.files is None} <= set(galleries_of(name))
    assert not any(need.ready for need in wanted)


def galleries_of(name: str) -> list[str]:
    table = Config.load().table("locator", name)
    return [table[key] for key in ("gallery", "countries", "cities") if key in table]


def test_with_weights_in_a_folder_setup_builds_and_ask_answers(
    run: Cli, make_photo: MakePhoto, tiny_clip: Path, tmp_path: Path
) -> None:
    places = tmp_path / "places"
    places.mkdir()
    (places / "countries.csv").write_text(
        "code,country,region,city,lat,lon\nFR,France,,Paris,48.85,2.35\nPE,Peru,,Lima,-12,-77\n"
    )
    (places / "cities.csv").write_text(
        "country_code,region_code,city,region,lat,lon,population,geonameid\n"
        "FR,,Paris,,48.85,2.35,9,1\nFR,,Lyon,,45.76,4.84,8,2\nPE,,Lima,,-12.04,-77.03,7,3\nPE,,Cusco,,-13.53,-71.97,6,4\n"
    )
    for name, level, template in (
        ("first", "country", "{country}"),
        ("second", "city", "{city}, {country}"),
    ):
        recipe = (
            f'of = "texts"\nencoder = "streetclip"\npath = "{places}"\nlevel = "{level}"\ntemplate'
            f' = "{template}"\n'
        )
        Path(f"{name}.toml").write_text(recipe)
    configure(
        f'[encoder.streetclip]\nmodel = "{tiny_clip}"\n'
        f'[gallery.names]\nrecipe = "{Path("first.toml").absolute()}"\n'
        f'[gallery.towns]\nrecipe = "{Path("second.toml").absolute()}"\n'
        '[locator.mine]\nkind = "hierarchy"\ncountries = "names"\ncities = "towns"\n'
    )
    photo = str(make_photo())
    code, _, err = run("ask", "--locator", "mine", photo)
    assert code == 1
    assert "The gallery names" in err
    assert "img2loc setup mine" in err
    code, _, err = run("setup", "mine")
    assert code == 0, err
    assert "2 texts by transformers" in err
    assert "4 texts by transformers" in err
    code, out, _ = run("ask", "--locator", "mine", "--json", photo)
    assert code == 0
    told = json.loads(out)
    assert (told["locator"], told["gallery"], told["status"]) == ("mine", "towns", "located")
    country = told["nearest"][0]["id"].partition("/")[0]
    assert {entry["id"].partition("/")[0] for entry in told["nearest"]} == {country}
    assert all(0 < entry["probability"] <= 1 for entry in told["nearest"])
    assert {"FR": "France", "PE": "Peru"}[country] in told["detail"]
    # Galleries of captions are for those who name them.
    assert galleries.best_gallery(Config.load()) == galleries.STARTER
    assert Plan(Config.load(), "retrieval").names["gallery"] == "auto"
    assert Plan(Config.load(), "retrieval").galleries["gallery"].name == galleries.STARTER
