"""What a photograph must not see: itself by any name, and its photographer's others."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.datasets.leakage import Leaks
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError
from img2loc.core.types import Guess, Item, Location, Neighbours, Photo, PhotoLike
from img2loc.data.photo_names import author_in, flickr_id, key
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from img2loc.gallery.neighbours import Retriever
from tests.conftest import MakePhoto
from tests.toys import PixelEncoder

ONE_PHOTO = [
    "e1/55/4763369508.jpg",
    "e1_55_4763369508.jpg",
    "4763369508",
    "4763369508.jpg",
    "4763369508_7410c654ba_19_1@N00.jpg",
]


@pytest.mark.parametrize(
    "name",
    [*ONE_PHOTO, "photos/4763369508.jpg", "Paris_00005_4763369508_0054d193dc_27_98908999@N00.jpg"],
)
def test_one_photo_has_many_names(name: str) -> None:
    assert flickr_id(name) == key(name) == "4763369508"


@pytest.mark.parametrize(
    "name",
    [
        "20231015_123456.jpg",
        "IMG_0001.jpg",
        "1.jpg",
        "photos/a__e7402fd206.jpg",
        "DSC01234.jpg",
        "",
    ],
)
def test_names_that_are_no_flickr_ids(name: str) -> None:
    assert flickr_id(name) is None


def test_the_photographer_in_a_name() -> None:
    assert author_in("104123223_7410c654ba_19_19355699@N00.jpg") == "19355699@N00"
    assert (
        author_in("9f05b2251e_1292_8504005@N07") == "8504005@N07"
    )  # As Im2GPS's widespread file has it.
    assert author_in("someone@example.org") == ""


@pytest.fixture
def gallery(tmp_path: Path, make_photo: MakePhoto) -> Gallery:
    """Twenty rows: five names of one photograph, by five people; five of Ada's; ten of nobody's."""
    encoder = PixelEncoder()
    ids = [*ONE_PHOTO, *(f"ada{n}.jpg" for n in range(5)), *(f"{n}.jpg" for n in range(10))]
    authors = [*(f"p{n}" for n in range(5)), *["ada"] * 5, *[""] * 10]
    photos = [Photo(make_photo(f"{seed}.jpg", seed)) for seed in range(20)]
    items = [
        Item(identity, Location(n, n), photo, author=author)
        for n, (identity, photo, author) in enumerate(zip(ids, photos, authors, strict=True))
    ]
    rows = np.stack(list(encoder.encode(photos)))  # type: ignore[arg-type]
    batches = [(rows[:7], table_of(items[:7])), (rows[7:], table_of(items[7:]))]
    return Gallery.build(
        tmp_path / "g", batches, encoder={"name": encoder.name, "table": {}}, rows=20
    )


def seen(gallery: Gallery, leaks: Leaks, photo: Path) -> set[str]:
    _, found = next(Retriever(PixelEncoder(), gallery, leaks).neighbours([Photo(photo)], 20, 20))
    assert isinstance(found, Neighbours)
    assert {entry.id for entry in found.nearest} == {entry.id for entry in found.farthest}
    return {entry.id for entry in found.nearest}


def test_rows_of_the_same_photo_and_photographer_are_not_seen(
    gallery: Gallery, make_photo: MakePhoto
) -> None:
    everything = set(gallery.metadata.ids())
    ada = {name for name in everything if name.startswith("ada")}
    asked = {
        make_photo("q1.jpg", 1): (
            Truth("x", Location(1, 1), "ada", "e1_55_4763369508.jpg"),
            set(ONE_PHOTO) | ada,
            10,
        ),
        make_photo("q2.jpg", 2): (Truth("y", Location(1, 1), "", "99999999.jpg"), set(), 0),
        make_photo("q3.jpg", 3): (Truth("3.jpg", Location(1, 1), "bob", "3.jpg"), {"3.jpg"}, 1),
        make_photo("q4.jpg", 4): (
            Truth("4763369508", Location(1, 1), "p0", "z.jpg"),
            set(ONE_PHOTO),
            5,
        ),
    }
    leaks = Leaks(gallery, [(truth, photo) for photo, (truth, _, _) in asked.items()])
    assert leaks.ids_known
    assert leaks.authors_known
    for photo, (truth, hidden, number) in asked.items():
        assert seen(gallery, leaks, photo) == everything - hidden
        assert leaks.excluded(truth) == number
        assert leaks.photographer_checked(truth) is bool(truth.author)
    assert seen(gallery, leaks, make_photo("other.jpg", 7)) == everything


def test_rows_of_the_same_plain_name_are_counted_without_photographers(
    gallery: Gallery, make_photo: MakePhoto
) -> None:
    photo = make_photo("q.jpg", 1)
    truth = Truth("3.jpg", Location(1, 1), "", "3.jpg")
    leaks = Leaks(gallery, [(truth, photo)])
    assert (leaks.ids_known, leaks.authors_known) == (True, False)
    assert (leaks.excluded(truth), leaks.photographer_checked(truth)) == (1, False)
    assert "3.jpg" not in seen(gallery, leaks, photo)


def test_what_cannot_be_checked_is_said(gallery: Gallery, tmp_path: Path) -> None:
    truth = Truth("a", Location(1, 1), "", "a.jpg")
    leaks = Leaks(gallery, [(truth, tmp_path / "a.jpg")])
    assert (leaks.ids_known, leaks.authors_known, leaks.photographer_checked(truth)) == (
        False,
        False,
        False,
    )


class Unaware:
    """A third party's locator that could not hide a photograph's own rows from it."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        raise NotImplementedError


def test_a_locator_that_cannot_exclude_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    """Its benchmark would be too good, in silence."""
    path = tmp_path / "c.toml"
    path.write_text(
        '[locator.theirs]\nkind = "tests.bench.test_leakage:Unaware"\ngallery ='
        f' "{gallery.folder}"\n'
    )
    config = Config.load(path)
    assert isinstance(factory.locator(Plan(config, "theirs")), Unaware)
    with pytest.raises(ConfigError, match=r"'theirs' takes no exclusions.*--no-exclude"):
        factory.locator(Plan(config, "theirs"), exclusions=Leaks(gallery, []))
