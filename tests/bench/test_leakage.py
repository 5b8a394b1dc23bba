"""What a photograph must not see: itself by any name, and its photographer's others."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.datasets.leakage import Leaks, truth_coordinates
from img2loc.bench.runs.run_folder import Run
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError
from img2loc.core.types import Guess, Item, Location, Neighbours, Photo, PhotoLike
from img2loc.data.photo_names import author_in, flickr_id, key
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from img2loc.gallery.neighbours import Retriever
from tests.bench_toys import benchmark, lines
from tests.conftest import Cli, MakePhoto, picture
from tests.score_toys import SPHERE, truths
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
        make_photo("q1.jpg", 41): (
            Truth("x", Location(1, 1), "ada", "e1_55_4763369508.jpg"),
            set(ONE_PHOTO) | ada,
            10,
        ),
        make_photo("q2.jpg", 42): (Truth("y", Location(1, 1), "", "99999999.jpg"), set(), 0),
        make_photo("q3.jpg", 43): (Truth("3.jpg", Location(1, 1), "bob", "3.jpg"), {"3.jpg"}, 1),
        make_photo("q4.jpg", 44): (
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
    photo = make_photo("q.jpg", 41)
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


@pytest.fixture
def build(run: Cli, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Build a gallery `g` of a table by the pixel encoder; its folder and the configuration."""
    config = tmp_path / "toy.toml"
    config.write_text(
        '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n'
        '[encoder.places]\nkind = "tests.toys:PlaceEncoder"\n'
    )

    def call(table: Path, *options: str) -> tuple[Path, Path]:
        words = options or ("--encoder", "toy")
        code, _, err = run(
            *("index", "build", table, "--out", tmp_path / "g", *words, "--config", config)
        )
        assert code == 0, err
        return tmp_path / "g", config

    return call


def bench(run: Cli, truth: Path, gallery: Path, config: Path, *options: str) -> str:
    """Run the retrieval locator into R; what stderr says."""
    words = ("--locator", "retrieval", "--gallery", gallery, "--config", config, "--out", "R")
    code, _, err = run("bench", "run", truth, *words, *options)
    assert code == 0, err
    return err


def test_a_gallery_of_the_same_files_under_a_folders_name_leaks_nothing(
    run: Cli, tmp_path: Path, build: Callable[..., tuple[Path, Path]]
) -> None:
    """It was 100 % within 1 km, without a word."""
    own = benchmark(tmp_path / "photos", 8, first=0)
    gallery, config = build(own)
    truth = tmp_path / "truth.csv"
    head, *rows = own.read_text().splitlines()
    truth.write_text("\n".join([head, *(f"photos/{row.rpartition(',')[0]}," for row in rows)]))
    err = bench(run, truth, gallery, config)
    assert f"8 of the 8 photos are in the gallery {gallery} themselves." in err
    assert "cannot be ruled out" not in err
    for line in lines(Path("R")):
        assert line["excluded"] == 1
        assert Path(line["id"]).name not in {entry["id"] for entry in line["nearest"]}
    assert Run.open(Path("R")).about["leaks"]["ids_known"] is True


def renamed(chance: random.Random) -> str:
    """A path of random folders and a random name, of which no part tells anything."""
    folders = [chance.choice(["a", "b_c", "IMG", "2015"]) for _ in range(chance.randrange(4))]
    return "/".join([*folders, f"{chance.choice(['x', 'DSC_', ''])}{chance.randrange(10**9)}.jpg"])


def moved(name: str, chance: random.Random) -> str:
    """The name of a file in other folders, or with "_" for "/"; with or without its suffix."""
    folders = [chance.choice(["a", "b_c", "IMG", "2015"]) for _ in range(chance.randrange(4))]
    path = chance.choice([name.replace("/", "_"), "/".join([*folders, Path(name).name])])
    return path if chance.random() < 0.7 else path.removesuffix(".jpg")


@pytest.mark.parametrize("seed", range(25))
def test_renamed_files_and_folders_hide_no_photo(seed: int, tmp_path: Path) -> None:
    """Of a gallery of photos, each query is one: under other folders, or under another name.

    Under other folders the name tells, under another name the bytes do, and re-encoded without
    loss, the similarity.
    """
    chance = random.Random(seed)
    names = list(dict.fromkeys(renamed(chance) for _ in range(12)))
    photos, asked = [], []
    for number, name in enumerate(names):
        path = tmp_path / "gallery" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        picture(number, (24, 16)).save(path)
        photos.append(Photo(path))
        way = chance.choice(["moved", "renamed", "encoded"])
        copy = tmp_path / "asked" / f"{number}.png"
        copy.parent.mkdir(exist_ok=True)
        if way == "renamed":
            copy.write_bytes(path.read_bytes())
        else:  # Another picture for "moved", so that only its name tells.
            picture(number + 100 * (way == "moved"), (24, 16)).save(copy, compress_level=1)
        to = moved(name, chance) if way == "moved" else renamed(chance)
        truth = Truth(str(number) if "/" in to else to, Location(number, 0), photo=to)
        asked.append((truth, copy))
    items = [
        Item(name, Location(number, 0), photo, digest=photo.short_digest())
        for number, (name, photo) in enumerate(zip(names, photos, strict=True))
    ]
    encoder = PixelEncoder()
    rows = np.stack(list(encoder.encode(photos)))  # type: ignore[arg-type]
    stamp = {"name": encoder.name, "table": {}}
    gallery = Gallery.build(
        tmp_path / "g", [(rows, table_of(items))], encoder=stamp, rows=len(items)
    )
    leaks = Leaks(gallery, asked)
    for (truth, copy), name in zip(asked, names, strict=True):
        assert name not in seen(gallery, leaks, copy), truth
        assert leaks.excluded(truth) == 1, truth


@pytest.mark.parametrize(
    ("asked", "hidden"),
    [
        ("photos/7.jpg", {"rome/7.jpg"}),  # One photo has this name.
        ("0.jpg", set()),  # Several have it, and which is meant cannot be told.
        ("photos/rome/0.jpg", {"rome/0.jpg"}),
        ("rome_0", {"rome/0.jpg"}),
        ("paris/0.png", {"paris/0.jpg"}),
        ("oslo/0.jpg", set()),
        ("10.jpg", set()),
    ],
)
def test_a_name_without_its_folders_counts_where_one_photo_has_it(
    asked: str, hidden: set[str], tmp_path: Path
) -> None:
    names = ["paris/0.jpg", "rome/0.jpg", "rome/7.jpg"]
    items = [Item(name, Location(1, 1)) for name in names]
    stamp = {"name": "any", "table": {}}
    table = table_of(items)
    gallery = Gallery.build(
        tmp_path / "g", [(np.eye(3, dtype=np.float32), table)], encoder=stamp, rows=3
    )
    path = tmp_path / "query.jpg"
    leaks = Leaks(gallery, [(Truth("17", Location(1, 1), photo=asked), path)])
    assert {names[row] for row in leaks(Photo(path))} == hidden
    assert leaks.ids_known is bool(hidden)


def test_near_duplicates_are_excluded_when_asked_for(
    run: Cli, tmp_path: Path, build: Callable[..., tuple[Path, Path]]
) -> None:
    gallery, config = build(benchmark(tmp_path / "photos", 8, first=0))
    queries = benchmark(tmp_path / "queries", 2, first=200)
    truth = queries.read_text().replace(",person66", ",").replace(",person67", ",")
    queries.write_text(truth)
    for number in (0, 1):  # As `photos` 0 and 1, and yet not the same.
        near = Image.blend(picture(number, (24, 16)), picture(100 + number, (24, 16)), 0.15)
        near.save(queries.parent / f"{200 + number}.jpg", quality=95)
    err = bench(run, queries, gallery, config)
    assert "cannot be ruled out: neither ids nor photographers" in err
    table, report = (run("bench", *words, "R")[1] for words in (("score",), REPORT))
    assert "  Neither ids nor photographers could be compared with the gallery's.\n" in table
    assert "Neither ids nor photographers could be compared with the gallery's" in report
    before = lines(Path("R"))
    assert all(0.95 <= line["top_similarity"] < 0.999 for line in before)
    assert [line["excluded"] for line in before] == [0, 0]
    err = bench(run, queries, gallery, config, "--exclude-near-duplicates", "0.95", "--out", "S")
    after = lines(Path("S"))
    assert all(line["top_similarity"] < 0.95 for line in after)
    assert [line["excluded"] for line in after] == [1, 1]
    assert Run.open(Path("S")).about["leaks"]["excluded_similarity"] == 0.95
    code, _, err = run(
        *("bench", "run", queries, "--no-exclude", "--exclude-near-duplicates", "0.9")
    )
    assert (code, "it contradicts --no-exclude" in err) == (2, True)


REPORT = ("report", "--format", "md")


def test_many_copies_of_a_photo_are_all_excluded(tmp_path: Path, make_photo: MakePhoto) -> None:
    """More than one search finds."""
    encoder = PixelEncoder()
    photos = [Photo(make_photo(f"{n}.jpg", 1 if n < 50 else n)) for n in range(60)]
    rows = np.stack(list(encoder.encode(photos)))  # type: ignore[arg-type]
    items = [Item(f"row{n}", Location(1, 1)) for n in range(60)]
    gallery = Gallery.build(
        *(tmp_path / "g", [(rows, table_of(items))]),
        encoder={"name": encoder.name, "table": {}},
        rows=60,
    )
    query = make_photo("q.jpg", 1)
    truth = Truth("q", Location(1, 1))
    leaks = Leaks(gallery, [(truth, query)])
    assert seen(gallery, leaks, query) == {f"row{n}" for n in range(50, 60)}
    assert leaks.excluded(truth) == 50


def test_points_of_the_truth_are_counted_and_told(
    run: Cli, tmp_path: Path, build: Callable[..., tuple[Path, Path]]
) -> None:
    """It was called free of leaks."""
    truth = benchmark(tmp_path / "b", 8)
    gallery, config = build(truth, "--of", "points", "--encoder", "places")
    err = bench(run, truth, gallery, config)
    assert (
        f"The gallery {gallery} leaks: it has a row within 1 m of where 8 of the 8 photos were"
        in err
    )
    assert Run.open(Path("R")).about["leaks"]["truth_coordinates"] == 8
    table, report = (
        " ".join(run("bench", *words, "R")[1].split()) for words in (("score",), REPORT)
    )
    said = "8 photos (100.0 %) were taken within 1 m of a row of the gallery, which holds points"
    assert f"Leaks: {said}: it was given their answer." in table
    assert f"a leak: {said}" in report


def test_a_metre_is_a_metre(tmp_path: Path) -> None:
    at = [(60.0, 10.0), (-33.9, 151.2), (0.0, -180.0)]
    points = [SPHERE.Direct(*point, 90, 0.99) for point in at]
    items = [Item(str(n), Location(end["lat2"], end["lon2"])) for n, end in enumerate(points)]
    gallery = Gallery.build(
        *(tmp_path / "g", [(np.eye(3, dtype=np.float32), table_of(items))]),
        encoder={"name": "any", "table": {}},
        rows=3,
        about={"of": "points"},
    )
    assert truth_coordinates(gallery, truths(at)) == 3
    far = [SPHERE.Direct(end["lat2"], end["lon2"], 0, 1.01) for end in points]
    assert truth_coordinates(gallery, truths([(end["lat2"], end["lon2"]) for end in far])) == 0


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
