"""eval/reference/published.toml says where each number is from, and its numbers can be shares."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from img2loc.bench.scores import published
from img2loc.bench.scores.published import rows_of
from img2loc.core import paths
from img2loc.core.errors import SourceError

ASKED = [
    *(
        "Img2Loc",
        "GeoCLIP",
        "StreetCLIP",
        "CLIP",
        "PlaNet",
        "CPlaNet",
        "ISNs",
        "TransLocator",
        "GeoDecoder",
    ),
    *("PIGEOTTO", "G3", "GeoRanker", "GeoRouter", "Pinpoint"),
]


def test_the_methods_of_the_field_are_there() -> None:
    assert set(ASKED) <= {row.method for row in rows_of()}
    benchmarks = ("im2gps", "im2gps3k", "yfcc4k", "yfcc26k", "gws15k")
    for benchmark in (*benchmarks, "geobench", "imageo-2", "mapbench"):
        assert rows_of(benchmark), benchmark


def test_variants_of_isns_are_told_apart() -> None:
    """Tables 1 of Img2Loc and of G3 have two variants of one method."""
    found = {row.variant: row.accuracy["25"] for row in rows_of("im2gps3k") if row.method == "ISNs"}
    assert found == {"M, f, S3": 27.2, "M, f*, S3": 28.0}
    (row,) = [row for row in rows_of("im2gps") if row.method == "ISNs"]
    assert row.variant == "M, f*, S3"


def test_the_papers_own_table() -> None:
    """Table 1 of Img2Loc, typed from the paper a second time."""
    table = {
        ("im2gps3k", "GPT-4V"): (17.10, 45.14, 57.87, 72.91, 84.68),
        ("im2gps3k", "LLaVA"): (7.98, 23.37, 29.94, 40.11, 51.12),
        ("yfcc4k", "GPT-4V"): (14.11, 29.57, 41.40, 59.27, 76.88),
        ("yfcc4k", "LLaVA"): (7.93, 14.20, 19.51, 29.98, 39.72),
    }
    found = {
        (row.benchmark, row.variant): tuple(row.accuracy.values())
        for row in rows_of()
        if row.method == "Img2Loc" and row.whose == "paper"
    }
    assert found == table


@pytest.mark.parametrize("row", rows_of(), ids=lambda row: f"{row.benchmark}-{row.name}")
def test_every_row_is_a_curve_with_a_source(row: published.Published) -> None:
    shares = list(row.accuracy.values())
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] < 100
    assert re.search(r"\d{4}|README|repository|model card|survey|GRE|replication", row.source)
    assert "mem" not in row.source
    assert row.whose == "survey" or "survey" not in row.source
    assert row.differs or row.whose == "paper"


def test_rows_are_in_the_order_of_the_city_threshold() -> None:
    at_25 = [row.accuracy.get("25", 0.0) for row in rows_of("yfcc4k")]
    assert at_25 == sorted(at_25, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (lambda row: row.method in ("PIGEON", "PIGEOTTO"), ("6378.137", "<=")),
        (lambda row: row.method == "GeoCLIP" and row.source.startswith("G3"), ("WGS84", "<=")),
        (lambda row: row.method == "GeoCLIP" and row.benchmark == "im2gps", ("WGS84",)),
        (
            lambda row: row.method in ("VLM-VPR", "GeoSURGE"),
            ("photographer were kept out", "without an answer"),
        ),
        (
            lambda row: row.method in ("StreetCLIP", "CLIP"),
            ("captions of countries", "lists of countries"),
        ),
        (
            lambda row: row.name == "Img2Loc (GPT-4V)",
            ("in other words", "full size", "free text", "unit length"),
        ),
        (
            lambda row: row.method == "GeoCLIP" and row.benchmark in ("im2gps", "gws15k"),
            ("ten crops", "gallery of coordinates"),
        ),
        (lambda row: "zero-shot" in row.variant, ("in other words", "size the LMM saw")),
    ],
)
def test_a_method_is_flagged_alike_on_every_benchmark(
    wanted: Callable[[published.Published], bool], words: tuple[str, ...]
) -> None:
    rows = [row for row in rows_of() if wanted(row)]
    assert rows
    for row in rows:
        for word in words:
            assert word in " ".join(row.differs), (row.name, row.benchmark)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('whose = "paper"', 'whose = "mine"', "whose"),
        ("25 = 45.14", "30 = 45.14", "no threshold '30'"),
        ('"leaks-unstated"', '"leeks"', "no flag 'leeks'"),
        ("year = 2024\n", "", "year"),
    ],
)
def test_a_slip_in_the_file_is_an_error(
    old: str, new: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (paths.folder("eval") / "reference" / "published.toml").read_text(encoding="utf-8")
    folder = tmp_path / "reference"
    folder.mkdir()
    head, mark, rows = text.partition("[[row]]")
    (folder / "published.toml").write_text(
        head + mark + rows.replace(old, new, 1), encoding="utf-8"
    )
    tomllib.loads((folder / "published.toml").read_text(encoding="utf-8"))
    monkeypatch.setattr(paths, "folder", lambda name: tmp_path)
    published._rows.cache_clear()
    try:
        with pytest.raises(SourceError, match=says):
            rows_of("im2gps3k")
    finally:
        published._rows.cache_clear()
