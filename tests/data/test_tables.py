"""One reader of tables: what a CSV gives, the Parquet file of the same rows gives too."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2loc.bench.scores.external import match
from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Rejected
from img2loc.data.csv_source import CsvSource
from img2loc.data.points import PointsSource
from img2loc.data.recipes import Recipe
from img2loc.data.tables import open_table
from img2loc.encoders.embed_to_file import Inputs
from img2loc.gallery.build.pipeline import commonest_reasons
from img2loc.training.place_names import PlacedPhoto, placed_photos
from tests.archives import write_table

Write = Callable[..., Path]


@pytest.fixture(params=["csv", "parquet"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Write the rows as a table of one kind."""

    def call(header: str, *rows: Sequence[object], name: str = "table") -> Path:
        names, path = header.split(","), tmp_path / f"{name}.{request.param}"
        if path.suffix == ".csv":
            path.write_text("".join(",".join(map(str, row)) + "\n" for row in (names, *rows)))
        else:
            columns = zip(*rows, strict=True)
            pq.write_table(
                pa.table({name: list(column) for name, column in zip(names, columns, strict=True)}),
                path,
            )
        return path

    return call


def test_columns_of_roles_that_are_not_asked_for_may_be_there_twice(write: Write) -> None:
    header = "file,lat,lon,region,state,country,country_name,city,town"
    path = write(header, ("a.jpg", 1.5, 2.5, "r", "s", "c", "n", "x", "y"))
    (item,) = CsvSource(path)
    assert isinstance(item, Item)
    with pytest.raises(
        SourceError, match=r"2 columns for the city: city, town\. Rename all but one"
    ):
        list(placed_photos(path))


def test_what_cannot_be_used_is_found_again_by_its_number(write: Write, tmp_path: Path) -> None:
    path = write("file,lat,lon", ("a.jpg", 1.5, 2.5), ("b.jpg", 91.5, 2.5), ("b.jpg", 95.5, 2.5))
    where = ["row 2", "row 3"] if path.suffix == ".parquet" else ["line 3", "line 4"]
    for source in (CsvSource(path), PointsSource(path)):
        reasons = [entry.reason for entry in source if isinstance(entry, Rejected)]
        assert [reason.partition(": no point on Earth")[0] for reason in reasons] == where
    (tmp_path / "skipped.csv").write_text(
        "id,reason\n" + "".join(f"b.jpg,{at}: odd\n" for at in where)
    )
    assert commonest_reasons(tmp_path) == ["2 × odd"]


def test_points_are_read(write: Write) -> None:
    path = write("latitude,lng,title", (1.5, 2.5, "one"), (3.5, 4.5, "two"))
    assert [
        (item.id, item.label)
        for item in Recipe("p", of="points", path=path).source()
        if isinstance(item, Item)
    ] == [
        ("0", "one"),
        ("1", "two"),
    ]


def test_inputs_of_an_embedding_are_read(write: Write, tmp_path: Path) -> None:
    photos = Inputs(write("image,id", ("a.jpg", "x"), ("", "y")))
    assert photos.of == "photos"
    (_, photo), (_, missing) = photos
    (item,) = CsvSource(write("image,lat,lon", ("a.jpg", 1.5, 2.5), name="same"))
    assert isinstance(item, Item)
    assert photo == item.photo
    assert isinstance(missing, Rejected)
    assert missing.reason.endswith("no photo is named")
    points = Inputs(write("lat,lon", (1.5, 2.5), (91.5, 2.5)))
    assert (points.of, len(points)) == ("points", 2)
    assert "no point on Earth" in next(
        content.reason for _, content in points if isinstance(content, Rejected)
    )


def test_places_of_training_photos_are_read(write: Write) -> None:
    path = write(
        "file,lat,lon,town,country",
        ("a.jpg", 48.85, 2.35, "Paris", "France"),
        ("b.jpg", 0.5, 91.5, "", "Nowhere"),
    )
    found = [(row.city, row.country) for row in placed_photos(path) if isinstance(row, PlacedPhoto)]
    assert found == [("Paris", "France"), ("", "Nowhere")]


def test_predictions_and_truth_are_read(write: Write) -> None:
    truth = write(
        "file,lat,lon", ("a.jpg", 1.5, 2.5), ("b.jpg", 0, 0), ("c.jpg", 3.5, 4.5), name="truth"
    )
    predictions = write(
        "IMG_ID,LAT,LON,pred_lat,pred_lon", ("a.jpg", 9.5, 9.5, 1.5, 2.5), name="predictions"
    )
    matched = match(predictions, truth)
    assert matched.outcomes.status == ("located", "missing")
    assert matched.outcomes.guess[0].tolist() == [1.5, 2.5]
    (left_out,) = matched.truth_skipped
    assert left_out.startswith(
        "b.jpg: row 2: 0, 0" if truth.suffix == ".parquet" else "b.jpg: line 3: 0, 0"
    )
    with pytest.raises(SourceError, match=r"no column for the lon: .*\. It has: id, lat\."):
        match(write("id,lat", ("a.jpg", 1.5)), truth)


def test_a_missing_or_empty_table_is_an_error(tmp_path: Path) -> None:
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(
            SourceError,
            match=rf"{name} cannot be read: No such file or directory\. Name a CSV or Parquet file",
        ):
            open_table(tmp_path / name, ())
    (tmp_path / "x.csv").write_text("\n")
    pq.write_table(pa.table({}), tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        with pytest.raises(
            SourceError, match=rf"{name} is empty\. Name a file with a header and rows"
        ):
            open_table(tmp_path / name, ("photo",))
    (tmp_path / "x.parquet").write_text("file,lat,lon\n")
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as Parquet"):
        open_table(tmp_path / "x.parquet", ())


def test_a_column_chosen_for_one_role_is_not_taken_for_another(write: Write) -> None:
    path = write("file,name,lat,lon", ("a.jpg", "Eiffel", 48.5, 2.5))
    assert open_table(path, ("photo",), columns={"label": "name"}).columns == {
        "label": "name",
        "photo": "file",
        "lat": "lat",
        "lon": "lon",
    }
    with pytest.raises(SourceError, match=r"no column 'there'\. It has: file, name, lat, lon"):
        open_table(path, (), columns={"photo": "there"})
    with pytest.raises(SourceError, match="no column role 'where'"):
        open_table(path, (), columns={"where": "name"})


def test_a_long_parquet_table_is_read_as_a_stream(tmp_path: Path) -> None:
    count = 200_000
    columns = {
        "file": [f"folder/{n}.jpg" for n in range(count)],
        "lat": [1.5] * count,
        "lon": [2.5] * count,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=10_000)
    del columns
    table = open_table(tmp_path / "t.parquet", ("photo",))
    before, most = pa.total_allocated_bytes(), 0
    for number, _ in enumerate(table):
        if number % 1000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert number == count - 1
    assert most < 4_000_000


def test_a_parquet_table_reads_like_the_csv(tmp_path: Path) -> None:
    rows = [("a.jpg", 1.5, -2.0, 7), ("b.jpg", None, 3.0, 8), ("", 1.0, 1.0, 9)]
    write_table(
        tmp_path / "t.csv",
        ["file", "lat", "lon", "id"],
        [["" if v is None else v for v in row] for row in rows],
    )
    table = pa.table(
        {
            name: list(column)
            for name, column in zip(
                ("file", "lat", "lon", "id"), zip(*rows, strict=True), strict=True
            )
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    parquet, csv = (list(CsvSource(tmp_path / f"t.{kind}")) for kind in ("parquet", "csv"))
    assert [entry.id for entry in parquet] == [entry.id for entry in csv] == ["7", "8", "9"]
    assert parquet[0] == csv[0]
    assert len(open_table(tmp_path / "t.parquet", ())) == 3
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        CsvSource(tmp_path / "bad.parquet")
    with pytest.raises(
        SourceError,
        match=r"absent\.parquet cannot be read: No such file or directory\. Name a CSV or Parquet",
    ):
        CsvSource(tmp_path / "absent.parquet")


def test_a_parquet_tables_odd_types_are_text_as_a_csv_has_it(tmp_path: Path) -> None:
    import numpy as np

    columns = {
        "file": pa.array([b"a.jpg", "ü.jpg".encode()], pa.binary()),
        "id": pa.array([4763369508.0, None], pa.float64()),
        "lat": pa.array(np.array([48.8584, 1e-7], np.float32)),
        "lon": pa.array([2, -3], pa.int16()),
        "author": pa.array([float("nan"), 7.0]),
        "title": pa.array(["x", "x"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    first, second = (
        entry for entry in CsvSource(tmp_path / "t.parquet") if isinstance(entry, Item)
    )
    assert (first.id, first.author, first.label) == ("4763369508", "", "x")
    assert first.location.lat == pytest.approx(48.8584, abs=1e-5)
    assert first.location.lon == 2
    assert (second.id, second.author, second.photo.path.name) == ("ü.jpg", "7", "ü.jpg")
    assert second.location.lat == pytest.approx(1e-7)


def test_a_parquet_table_whose_pages_are_damaged_is_an_error(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"file": ["a.jpg"] * 50, "lat": [1.0] * 50, "lon": [2.0] * 50}),
        tmp_path / "t.parquet",
    )
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    with pytest.raises(SourceError, match=r"t\.parquet is damaged"):
        list(CsvSource(tmp_path / "t.parquet"))


def test_a_long_csv_is_counted_and_read_as_a_stream(tmp_path: Path) -> None:
    import tracemalloc

    rows = [(f"{n}.jpg", 1, 2, "Zürich, " * 8) for n in range(60_000)]
    path = write_table(tmp_path / "t.csv", ["file", "lat", "lon", "city"], rows)
    assert path.stat().st_size > 4_000_000
    tracemalloc.start()
    table = open_table(path, ("photo",))
    assert sum(1 for _ in table) == len(table) == 60_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_500_000
