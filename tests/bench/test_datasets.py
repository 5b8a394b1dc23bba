"""Recipes, truth files, and `img2loc data`: list, fetch, verify."""

import errno
import hashlib
import io
import os
import random
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from img2loc.bench.datasets import benchmark as benchmarks
from img2loc.bench.datasets.benchmark import Mirror, Truth, rows_sha256
from img2loc.bench.datasets.download import FetchError, fetch, fetch_photos, unpack
from img2loc.bench.datasets.photo_folder import PhotoFolder
from img2loc.bench.scores.external import read_truth
from img2loc.core import paths
from img2loc.core.errors import SourceError
from img2loc.core.types import Location
from tests.bench_toys import PLACES, benchmark
from tests.conftest import SHARED, Cli, picture


@pytest.fixture
def http() -> Iterator[HTTPServer]:
    with HTTPServer() as server:
        yield server


def test_every_recipe_says_what_must_be_known(run: Cli) -> None:
    assert benchmarks.known() == ["geobench", "gws15k", "im2gps", "im2gps3k", "yfcc26k", "yfcc4k"]
    for name in benchmarks.known():
        recipe = benchmarks.find(name)
        assert recipe.rows
        assert recipe.description
        assert recipe.terms
        assert recipe.defects
        assert recipe.obtain
        assert recipe.rows_sha256 or name == "gws15k"
        assert bool(recipe.rows_sha256) == bool(recipe.checksum_of)
        for mirror in recipe.mirrors:
            assert mirror.sha256 or "not tried" in mirror.note
    assert benchmarks.find(str(paths.folder("eval") / "reference" / "template.toml")).obtain
    code, out, _ = run("data", "list")
    assert code == 0
    assert "im2gps3k: Im2GPS3k" in out


def test_the_truth_of_geobench_is_that_of_its_recipe() -> None:
    file = SHARED / "replies" / "geobench-truth.csv"
    if not file.exists():
        pytest.skip(f"the truth file is not at {file}")
    recipe = benchmarks.find("geobench", truth=file)
    truths, skipped = recipe.load()
    assert (len(truths), skipped, recipe.warnings(truths)) == (934, [], [])


@pytest.mark.parametrize(
    ("name", "rows", "people"),
    [("im2gps3k", 2997, 198), ("im2gps", 237, None), ("yfcc4k", 4536, 3481)],
)
def test_the_truth_files_are_those_that_the_recipes_know(
    name: str, rows: int, people: int | None
) -> None:
    file = SHARED / "benchmarks" / f"{name}.csv"
    if not file.exists():
        pytest.skip(f"the truth file is not at {file}")
    recipe = benchmarks.find(name, truth=file)
    truths, skipped = recipe.load()
    assert (len(truths), skipped, recipe.warnings(truths)) == (rows, [], [])
    assert all("@N" in row.author for row in truths)
    if people is not None:
        assert len({row.author for row in truths}) == people
    moved = [
        Truth(row.id, Location(row.location.lat, 0.5), row.author, row.photo) for row in truths
    ]
    assert "differ from those" in recipe.warnings(moved)[0]
    assert f"has {rows:,} rows" in recipe.warnings(truths[1:])[0]


def test_the_rows_checksum_does_not_depend_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "IMG_ID,AUTHOR,LAT,LON\n10/ab/12345678.jpg,x,1.5,-2.25\n22222222.jpg,y,-0.0,170.000000004\n"
    )
    (tmp_path / "b.csv").write_text(
        "name;lon;lat\n22222222.jpg;170;0\n12345678.jpg;-2.250000;1.4999999999\n"
    )
    sums = {
        rows_sha256(benchmarks.find(str(tmp_path / name)).load()[0]) for name in ("a.csv", "b.csv")
    }
    words = "12345678 1.500000 -2.250000\n22222222 0.000000 170.000000\n"
    assert sums == {hashlib.sha256(words.encode()).hexdigest()}


def test_a_recipe_of_ones_own(tmp_path: Path, run: Cli) -> None:
    benchmark(tmp_path / "b", 3)
    text = (
        (tmp_path / "b" / "truth.csv").read_text().replace("file,lat,lon,author", "picture,y,x,by")
    )
    (tmp_path / "b" / "truth.csv").write_text(text)
    columns = 'photo = "picture"\nlat = "y"\nlon = "x"\nauthor = "by"\n'
    (tmp_path / "b" / "my.toml").write_text(
        f'truth = "truth.csv"\nphotos = "."\nrows = 3\n[columns]\n{columns}'
    )
    code, out, _ = run("data", "verify", tmp_path / "b" / "my.toml")
    assert code == 0, out
    for wrong, words in (
        ("rowz = 3\n", "no key 'rowz'"),
        ("rows = 'x'\n", "should be a int"),
        ("rows = \n", "cannot be read"),
    ):
        (tmp_path / "wrong.toml").write_text(wrong)
        with pytest.raises(SourceError, match=words):
            benchmarks.find(str(tmp_path / "wrong.toml"))
    with pytest.raises(SourceError, match="There is no file"):
        benchmarks.find("nowhere.csv")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("photo_id,lat,lon", "{seed},{lat},{lon}"),
        ("Image_Name;lon;lat", "{seed}.jpg;{lon};{lat}"),
        ("id,img_name,photo_id,lat,lon", "{number},{seed}.jpg,x{seed},{lat},{lon}"),
        ("IMG_ID,lat,lon", "{seed},{lat},{lon}"),
        ("id,photo_id,lat,lon", "{number},{seed}.jpg,{lat},{lon}"),
        ("id,lat,lon", "{seed},{lat},{lon}"),
        ("id,file,photo_id,lat,lon", "{number},{seed}.jpg,x{seed},{lat},{lon}"),
    ],
)
def test_a_truth_file_that_can_be_scored_can_be_run(tmp_path: Path, header: str, row: str) -> None:
    """What `bench score --truth` reads, `bench run` reads as the same rows, with photographs."""
    path = benchmark(tmp_path / "b", 4)
    rows = [
        row.format(seed=100 + n, number=n, lat=lat, lon=lon) for n, (lat, lon) in enumerate(PLACES)
    ]
    path.write_text("\n".join([header, *rows]))
    truths, skipped = benchmarks.find(str(path)).load()
    assert skipped == []
    assert [truth.location for truth in truths] == [Location(*place) for place in PLACES]
    assert [PhotoFolder(path.parent).find(truth) for truth in truths] == [
        path.parent / f"{seed}.jpg" for seed in range(100, 104)
    ]
    assert [(truth.id, truth.location) for truth in read_truth(path)[0]] == [
        (truth.id, truth.location) for truth in truths
    ]


def test_a_truth_file_that_names_no_photo_says_which_columns_would(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("picture,lat,lon\na.jpg,1,2\n")
    with pytest.raises(
        SourceError,
        match=r"no column for the photo: none of .*photo_id, id\. It has: picture, lat, lon\.",
    ):
        benchmarks.find(str(tmp_path / "t.csv")).load()


def test_verify_finds_what_is_missing_extra_corrupt_or_no_photo(tmp_path: Path, run: Cli) -> None:
    """A folder in MP-16's layout, under other names than the truth file's."""
    names = [f"{n}0000000.jpg" for n in range(1, 10)]
    (tmp_path / "truth.csv").write_text(
        "file,lat,lon\n" + "".join(f"{name},1,2\n" for name in names)
    )
    folder = tmp_path / "photos" / "e1" / "55"
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        picture(seed).save(folder / name)
    (folder / names[0]).unlink()
    (folder / names[1]).write_bytes((folder / names[2]).read_bytes()[:-600])
    placeholder = Image.new("RGB", (500, 374), (240, 240, 240))
    placeholder.paste((90, 90, 90), (200, 150, 300, 180))
    placeholder.save(folder / names[3])
    for name in names[5:8]:  # No blank picture, but the same three times.
        (folder / name).write_bytes((folder / names[5]).read_bytes())
    picture(99).save(folder / "extra.jpg")
    code, out, _ = run("data", "verify", tmp_path / "truth.csv", "--photos", tmp_path / "photos")
    assert code == 3
    kinds = {
        line.split()[0]: line.split()[1] for line in out.splitlines() if not line.startswith(" ")
    }
    assert {kind: kinds[kind] for kind in ("missing", "corrupt", "placeholder", "extra")} == {
        "missing": "1",
        "corrupt": "1",
        "placeholder": "4",
        "extra": "1",
    }
    assert f"  {names[0]}\n" in out
    assert f"  {names[1]}: damaged image" in out
    assert f"  {names[3]}: " in out
    assert f"  {names[5]}: the same bytes as 2 others" in out
    assert "  e1/55/extra.jpg" in out


CONTENT = bytes(range(256)) * 400


def ranged(request: Request) -> Response:
    """A file server that knows ranges."""
    wanted = request.headers.get("Range")
    if wanted and request.headers.get("If-Range") == '"v1"':
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start > len(CONTENT):
            return Response(status=416)
        return Response(CONTENT[start:], 206, {"ETag": '"v1"'})
    return Response(CONTENT, 200, {"ETag": '"v1"'})


def test_a_download_resumes_where_it_was_cut_off(http: HTTPServer, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def noted(request: Request) -> Response:
        asked.append(request.headers.get("Range"))
        return ranged(request)

    http.expect_request("/f").respond_with_handler(noted)
    file = tmp_path / "new" / "f"
    file.parent.mkdir()
    (tmp_path / "new" / "f.part").write_bytes(CONTENT[:1000])
    (tmp_path / "new" / "f.part.validator").write_text('"v1"')
    seen: list[tuple[int, int | None]] = []
    checksum = hashlib.sha256(CONTENT).hexdigest()
    fetch(http.url_for("/f"), file, checksum, lambda done, total: seen.append((done, total)))
    assert asked == ["bytes=1000-"]
    assert file.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in file.parent.iterdir()] == ["f"]


@pytest.mark.parametrize("validator", ['"v0"', None])
def test_a_part_of_another_version_is_not_joined(
    http: HTTPServer, tmp_path: Path, validator: str | None
) -> None:
    http.expect_request("/f").respond_with_handler(ranged)
    (tmp_path / "f.part").write_bytes(b"old" * 100)
    if validator:
        (tmp_path / "f.part.validator").write_text(validator)
    fetch(http.url_for("/f"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(
    http: HTTPServer, tmp_path: Path
) -> None:
    http.expect_request("/f").respond_with_handler(ranged)
    (tmp_path / "f.part").write_bytes(CONTENT + b"more")
    (tmp_path / "f.part.validator").write_text('"v1"')
    with pytest.raises(FetchError, match="Run the command again"):
        fetch(http.url_for("/f"), tmp_path / "f")
    fetch(http.url_for("/f"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_broken_connection_keeps_what_came(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

        thread = Thread(target=serve)
        thread.start()
        with pytest.raises(FetchError, match="broke after 4 of 1,000 bytes"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/f", tmp_path / "f")
        thread.join()
    assert [path.name for path in tmp_path.glob("f*")] == ["f.part"]  # Of no version: not resumed.


def test_wrong_bytes_and_dead_links_are_errors(http: HTTPServer, tmp_path: Path) -> None:
    http.expect_request("/f").respond_with_data(CONTENT)
    with pytest.raises(FetchError, match="is not the file that was expected"):
        fetch(http.url_for("/f"), tmp_path / "f", "0" * 64)
    assert not list(tmp_path.glob("f*"))
    with pytest.raises(FetchError, match="cannot be downloaded"):
        fetch(http.url_for("/gone"), tmp_path / "f")
    with pytest.raises(FetchError, match="cannot be downloaded"):
        fetch("http://127.0.0.1:9/f", tmp_path / "f")


def test_a_download_is_neither_endless_nor_larger_than_the_disk(
    http: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dribble() -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b"x"

    http.expect_request("/slow").respond_with_handler(lambda _: Response(dribble()))
    http.expect_request("/large").respond_with_data(b"0123456789")
    clock = SimpleNamespace(monotonic=count(step=10.0).__next__)  # 10 s pass between two reads.
    monkeypatch.setattr("img2loc.bench.datasets.download.time", clock)
    with pytest.raises(FetchError, match=r"only \d+ bytes came in 60 s"):
        fetch(http.url_for("/slow"), tmp_path / "slow")
    monkeypatch.setattr("img2loc.bench.datasets.download.RESERVE", 1 << 62)
    with pytest.raises(FetchError, match="the disk has less than"):
        fetch(http.url_for("/large"), tmp_path / "large")


def test_fetching_a_benchmark_from_mirrors(http: HTTPServer, tmp_path: Path, run: Cli) -> None:
    truth = benchmark(tmp_path / "b", 4)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for photo in sorted(truth.parent.glob("*.jpg")):
            tar.add(photo, f"inner/{photo.name}")
    http.expect_request("/truth").respond_with_data(truth.read_bytes())
    http.expect_request("/wrong").respond_with_data("file,lat,lon\na.jpg,1,2\n")
    http.expect_request("/photos").respond_with_data(packed.getvalue())
    recipe = tmp_path / "mine.toml"
    mirrors = [("truth", "/gone"), ("truth", "/wrong"), ("truth", "/truth"), ("photos", "/photos")]
    listed = "".join(
        f'[[mirrors]]\nwhat = "{what}"\nurl = "{http.url_for(path)}"\n' for what, path in mirrors
    )
    recipe.write_text(f'rows = 4\nterms = "for tests"\nobtain = ["Ask a friend."]\n{listed}')
    code, _, err = run("data", "fetch", recipe)
    assert code == 0, err
    assert "Terms: for tests" in err
    assert "has 4 rows, and this file 1" in err
    assert run("data", "verify", recipe)[0] == 0
    code, _, err = run("data", "fetch", recipe)
    assert "is here" in err


def test_where_no_mirror_is_known_the_steps_are_said(tmp_path: Path, run: Cli) -> None:
    (tmp_path / "mine.toml").write_text('obtain = ["Ask a friend."]\n')
    code, _, err = run("data", "fetch", tmp_path / "mine.toml")
    assert code == 3
    assert "1. Ask a friend." in err
    assert "Not here yet: truth and photos." in err


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        entry = tarfile.TarInfo("../escaped.txt")
        tar.addfile(entry, io.BytesIO(b""))
    with pytest.raises(FetchError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "into")
    assert not (tmp_path / "escaped.txt").exists()
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        for name in ("out/escaped.txt", "photos/a.jpg"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
        twin = tarfile.TarInfo("photos/b.jpg")
        twin.type, twin.linkname = tarfile.LNKTYPE, "photos/a.jpg"
        tar.addfile(twin)
    unpack(tmp_path / "b.tar", tmp_path / "well")
    assert not (tmp_path / "escaped.txt").exists()
    assert (tmp_path / "well" / "photos" / "b.jpg").is_file()
    (tmp_path / "page.html").write_text("<html>sign in</html>")
    with pytest.raises(FetchError, match="neither a tar nor a zip"):
        unpack(tmp_path / "page.html", tmp_path / "into")


def packed(kind: str, folder: Path) -> Path:
    """An archive that is damaged in the given way, but looks like one."""
    path = folder / "a"
    if kind in ("gz", "xz", "bz2"):
        with tarfile.open(path, f"w:{kind}") as tar:  # type: ignore[call-overload]
            entry = tarfile.TarInfo("a.bin")
            content = bytes(random.Random(0).choices(b"geolocation", k=300_000))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2 : len(damaged) // 2 + 5000] = bytes(5000)
        path.write_bytes(damaged)
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.bin", b"content " * 1000)
    written = bytearray(path.read_bytes())
    central = written.index(b"PK\x01\x02")
    if kind == "deflate":
        written[35:60] = bytes(25)
    elif kind == "password":
        written[6] |= 1
        written[central + 8] |= 1
    else:  # A way of compression that nobody knows.
        written[8] = written[central + 10] = 77
    path.write_bytes(written)
    return path


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2", "deflate", "password", "method"])
def test_a_damaged_archive_is_an_error_and_is_deleted(kind: str, tmp_path: Path) -> None:
    recipe = benchmarks.Benchmark("damaged")
    recipe.home.mkdir(parents=True)
    archive = packed(kind, tmp_path).replace(recipe.home / "photos.archive")
    with pytest.raises(FetchError, match=r"cannot be unpacked|neither a tar nor a zip"):
        fetch_photos(recipe, Mirror("photos", "http://mirror.invalid/a"))
    assert not archive.exists()
    assert list(recipe.home.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_full_disk_keeps_the_download(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = benchmarks.Benchmark("full")
    recipe.home.mkdir(parents=True)
    archive = recipe.home / "photos.archive"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.jpg", b"content")

    def full(self: zipfile.ZipFile, folder: Path) -> None:
        folder.mkdir()
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", full)
        with pytest.raises(SourceError, match="the archive is kept") as caught:
            fetch_photos(recipe, Mirror("photos", "http://mirror.invalid/a"))
    assert not isinstance(caught.value, FetchError)  # Another mirror would not help.
    assert [path.name for path in recipe.home.iterdir()] == ["photos.archive"]
    assert (
        fetch_photos(recipe, Mirror("photos", "http://mirror.invalid/a")) / "a.jpg"
    ).read_bytes() == b"content"
