"""Recipes: one source, several, and mistakes in them."""

from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Rejected
from img2loc.data import recipes
from tests.archives import (
    make_mp16,
    make_pairs,
    mp16_name,
)


def test_recipes_of_several_sources(tmp_path: Path) -> None:
    make_mp16(tmp_path / "mp16", range(1, 5))
    make_pairs(tmp_path / "pairs" / "0.tar", range(20, 23))
    (tmp_path / "both.toml").write_text(
        '[[source]]\npath = "mp16"\ntable = "metadata/MP16_Pro_filtered.csv"\ncolumns = { photo ='
        ' "IMG_ID" }\n[[source]]\nname = "street"\npath = "pairs"\n'
    )
    recipe = recipes.find(str(tmp_path / "both.toml"))
    assert recipe.is_whole
    found = [entry for entry in recipe.source() if isinstance(entry, Item)]
    assert [entry.source for entry in found] == ["mp16"] * 4 + ["street"] * 3
    assert {entry.author for entry in found} == {"", *(f"{n}@N00" for n in range(1, 5))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path = "x"\n[[source]]\npath = "y"\n', "both a path and sources"),
        ('[[source]]\nname = "y"\n', "a \\[\\[source\\]\\] without a path"),
        ('[[source]]\npath = "y"\nencoder = "lite0"\n', "no key 'encoder'"),
        ("source = [3]\n", "should be a \\[\\[source\\]\\] table"),
        ('[[source]]\npath = "y"\ntable = 3\n', "table = 3 should be a str"),
        ('path = "x.csv"\nlicenses = [3]\n', r"licenses = \[3\] should hold texts only"),
        ('path = "x.csv"\ncolumns = {lat = 3}\n', "should hold texts only"),
    ],
)
def test_wrong_recipes_of_sources_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SourceError, match=message):
        recipes.find(str(tmp_path / "r.toml"))


@pytest.mark.parametrize(
    "name", ["no.such:thing.csv", "mp16:v2.csv", ":x.csv", "/data/2024:09/x.csv"]
)
def test_a_colon_in_a_path_names_no_package(tmp_path: Path, name: str) -> None:
    (tmp_path / "mp16:v2.csv").touch()
    (tmp_path / "r.toml").write_text(f'path = "{name}"\n')
    assert recipes.find(str(tmp_path / "r.toml")).path == tmp_path / name


def test_the_shipped_recipe_takes_a_download_as_it_is(tmp_path: Path) -> None:
    from dataclasses import replace

    folder = make_mp16(tmp_path / "MP16-Pro", range(1, 9), table_only=[50])
    found = list(replace(recipes.find("mp16"), path=folder).source())
    assert [entry.id for entry in found] == [mp16_name(n) for n in (50, 8, 7, 6, 5, 4, 3, 2, 1)]
    assert isinstance(found[0], Rejected)
    assert all(isinstance(entry, Item) for entry in found[1:])
    with pytest.raises(SourceError, match=r"has no metadata/MP16_Pro_filtered.csv.*hf download"):
        replace(recipes.find("mp16"), path=tmp_path).source()
    with pytest.raises(SourceError, match=r"hf download osv5m/osv5m.*--source FOLDER"):
        recipes.find("osv5m").source()
