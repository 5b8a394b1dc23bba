"""The report: one file that opens offline and escapes the text of others; its map and tables."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from img2loc.bench.datasets import benchmark as benchmarks
from img2loc.bench.reports.worldmap import great_circle, outlines
from img2loc.cli import app
from img2loc.core.errors import SourceError
from tests.score_toys import away, truths, write_run

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 <img src=x onerror=alert(2)> $x$ \ud800"
SPHERE = Geodesic(6371008.8, 0)


class Page(HTMLParser):
    """Every element of a page with its attributes, and the texts of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)

    @property
    def data(self) -> dict[str, Any]:
        """What the list of photographs is made from."""
        content: dict[str, Any] = json.loads(self.scripts[0])
        return content


def run_folder(folder: Path, hostile: str = "plain", n: int = 12, **about: Any) -> Path:
    truth = truths(
        [(40.0 + row, 179.9 - row) for row in range(n)], [f"p{row // 3}" for row in range(n)]
    )
    neighbour = {"lat": 1.0, "lon": 2.0, "similarity": 0.5, "id": hostile, "label": hostile}
    reply = {
        "text": hostile,
        "model": hostile,
        "status": "answered",
        "usage": None,
        "detail": hostile,
        "key": "",
    }
    evidence = {
        "nearest": [neighbour],
        "farthest": [neighbour],
        "prompts": [hostile],
        "replies": [reply],
        "detail": hostile,
    }
    predictions: dict[str, dict[str, Any]] = {
        row.id: away(
            row.location.lat,
            row.location.lon,
            10.0 ** (number % 5),
            80.0,
            radius_km=50.0 + number,
            **evidence,
        )
        for number, row in enumerate(truth[:-2])
    }
    predictions[truth[-2].id] = {"status": "refused", "lat": None, "lon": None, **evidence}
    return write_run(
        folder,
        truth,
        predictions,
        **({"benchmark": "im2gps3k", "truth": {"shipped": True}} | about),
    )


def report(*arguments: Path | str) -> str:
    done = CliRunner().invoke(app, ["bench", "report", *map(str, arguments)])
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    report(run_folder(tmp_path / "a"), run_folder(tmp_path / "b"), "--out", tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    addresses = [
        value
        for _, attrs in page.elements
        for key, value in attrs.items()
        if key in ("src", "href", "srcset", "action")
    ]
    assert addresses
    assert {
        str(value).split(",")[0] for value in addresses if not str(value).startswith("#note-")
    } == {
        "data:image/png;base64",
        "data:image/svg+xml;base64",
    }
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "base")]
    policy = [
        attrs["content"] for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs
    ]
    assert "default-src 'none'" in str(policy[0])


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "<b>run", HOSTILE, locator=HOSTILE)
    report(folder, "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.scripts) == 2  # the data and our own
    assert "alert" not in page.scripts[1]
    assert not [tag for tag, attrs in page.elements if tag == "b" and attrs] and "onerror" not in {
        key for _, attrs in page.elements for key in attrs
    }
    assert [
        tag
        for tag, attrs in page.elements
        if tag == "img" and not str(attrs["src"]).startswith("data:")
    ] == []
    entry = page.data["photos"][0][5][0]
    assert entry["replies"][0]["text"] == HOSTILE
    assert entry["prompts"] == [HOSTILE]
    assert entry["nearest"][0][4:] == [HOSTILE, HOSTILE]
    # What the browser makes of it is made by text alone.
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page.scripts[1]
    )


def test_photos_carry_their_errors_and_evidence(tmp_path: Path) -> None:
    report(run_folder(tmp_path / "a"), "--out", tmp_path / "r.html")
    photos = {
        photo[0]: photo
        for photo in Page((tmp_path / "r.html").read_text(encoding="utf-8")).data["photos"]
    }
    assert len(photos) == 12
    assert photos["2.jpg"][5][0]["km"] == pytest.approx(100.0, abs=0.001)
    # It is of version 0.1.0, which called the spread a radius.
    assert photos["2.jpg"][5][0]["spread"] == 52.0
    assert "radius" not in photos["2.jpg"][5][0]
    assert photos["10.jpg"][5][0]["km"] is None
    assert photos["10.jpg"][5][0]["status"] == "refused"
    assert photos["11.jpg"][5][0] == {"status": "missing", "km": None}
    truth = SPHERE.Inverse(42.0, 177.9, 1.0, 2.0)["s12"] / 1000
    assert photos["2.jpg"][5][0]["nearest"][0][3] == pytest.approx(truth, abs=0.06)


def test_no_photograph_is_shown_unless_asked_for(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "3.jpg").write_bytes(b"")
    (tmp_path / "photos" / "elsewhere.jpg").write_bytes(b"")
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    found = [
        json.dumps(json.loads(lines[4]) | {"photo": str(tmp_path / "photos" / "elsewhere.jpg")})
    ]
    found += [json.dumps(json.loads(lines[5]) | {"photo": str(folder / "run.json")})]
    (folder / "predictions.jsonl").write_text("".join(f"{line}\n" for line in [*lines, *found]))
    (tmp_path / "out").mkdir()
    report(folder, "--out", tmp_path / "out" / "plain.html")
    report(folder, "--out", tmp_path / "out" / "linked.html", "--photos", tmp_path / "photos")
    plain, linked = (
        (tmp_path / "out" / f"{name}.html").read_text(encoding="utf-8")
        for name in ("plain", "linked")
    )
    assert {photo[4] for photo in Page(plain).data["photos"]} == {""}
    assert {photo[0]: photo[4] for photo in Page(linked).data["photos"] if photo[4]} == {
        "3.jpg": "../photos/3.jpg",
        "4.jpg": "../photos/elsewhere.jpg",
    }
    assert str(tmp_path) not in linked
    missing = CliRunner().invoke(
        app, ["bench", "report", str(folder), "--photos", str(tmp_path / "none")]
    )
    assert isinstance(missing.exception, SourceError)


def test_published_rows_stand_below_ours_with_their_flags(tmp_path: Path) -> None:
    folder = run_folder(
        tmp_path / "mine", selection={"limit": "12", "shuffle": False, "seed": None}
    )
    text = report(folder, "--format", "md")
    lines = text.splitlines()
    assert lines[2].startswith("| mine | im2gps3k | this run | 12 | 83.3 % |")
    published = (
        "| Img2Loc (GPT-4V) | im2gps3k | paper |  |  | 17.1 | 45.14 | 57.87 | 72.91 | 84.68 |"
    )
    assert any(
        line.startswith(published) and "k and the model's version are not stated" in line
        for line in lines
    )
    assert "GeoGuessNet" in (report(folder, "--format", "csv"))
    notes = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    marked = {notes[mark] for mark in lines[2].split("|")[-4].replace(" ", "").split(",")}
    assert "part of the benchmark's photos (--limit 12)" in marked
    assert "not finished: 1 photos were not run, and count as wrong" in marked


def flags(folder: Path) -> str:
    """The last column of a run's own row."""
    return next(csv.DictReader(io.StringIO(report(folder, "--format", "csv"))))["differs"]


def test_a_run_says_what_its_truth_and_its_exclusions_were(tmp_path: Path) -> None:
    facts = {
        "shipped": True,
        "doubts": ["im2gps3k has 2,997 rows, and this file 3."],
        "left_out": 2,
    }
    own = flags(run_folder(tmp_path / "a", truth=facts, leaks={"exclude": False}))
    assert "another truth file: im2gps3k has 2,997 rows, and this file 3." in own
    assert "2 rows of the truth file could not be used" in own
    assert "rows of the photo's own id and photographer were searched" in own
    assert "for 100.0 % of the photos gallery rows by their photographer" in flags(
        run_folder(tmp_path / "b")
    )
    points: dict[str, Any] = {"gallery": "g", "config": {"gallery": {"of": "points"}}}
    for number, about in enumerate(({"gallery": None}, points)):
        folder = run_folder(tmp_path / f"c{number}", **about)
        assert "photographer" not in flags(folder)
        report(folder, "--out", tmp_path / "r.html")
        assert (
            "none to look for; no gallery was searched",
            "not known whether the gallery of points has rows where photos were taken",
        )[number] in (" ".join(Page((tmp_path / "r.html").read_text(encoding="utf-8")).words))


def test_published_rows_stand_beside_the_benchmark_itself_alone(tmp_path: Path) -> None:
    recipe = benchmarks.find("im2gps3k")
    for name, facts, published in (
        ("recipe", {"shipped": True}, True),
        ("same", {"shipped": False, "rows_sha256": recipe.rows_sha256}, True),
        ("other", {"shipped": False, "rows_sha256": "0" * 64}, False),
        ("unknown", {}, False),
    ):
        folder = run_folder(tmp_path / name, truth=facts)
        assert ("GeoGuessNet" in report(folder, "--format", "csv")) is published, name
        assert ("published figures do not compare" in flags(folder)) is not published
        report(folder, "--out", tmp_path / "r.html")
        heading = "Beside what is published on im2gps3k" if published else "Accuracy"
        assert heading in Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
    unsummed = run_folder(tmp_path / "gws", benchmark="gws15k", truth={"rows_sha256": ""})
    assert "GeoCLIP" not in report(unsummed, "--format", "csv")


def test_rows_of_two_benchmarks_are_told_apart(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name, benchmark=name) for name in ("yfcc4k", "im2gps3k")]
    lines = report(*folders, "--format", "md").splitlines()
    column = [line.split(" | ")[1] for line in lines[2:] if line.startswith("| ")]
    assert column == sorted(column, reverse=True)
    assert set(column) == {"yfcc4k", "im2gps3k"}
    report(*folders, "--out", tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    words = [word.strip() for word in page.words]
    assert "Beside what is published on yfcc4k, im2gps3k" in words
    assert words.count("im2gps3k") > 20


def test_shares_without_an_interval_are_rounded(tmp_path: Path) -> None:
    truth = truths([(10.0, 10.0)] * 3, ["one"] * 3)
    folder = write_run(tmp_path / "one", truth, {"0.jpg": away(10.0, 10.0, 0.5, 90.0)})
    assert "| 33.33 | 33.33 |" in report(folder, "--format", "md")


def test_the_list_of_photos_has_heads_and_begins_with_the_unanswered(tmp_path: Path) -> None:
    report(run_folder(tmp_path / "a"), run_folder(tmp_path / "b"), "--out", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    heads = re.search(r'<div class="photo heads">(.*?)</div>', text, re.DOTALL)
    assert heads
    assert re.findall(r"<span[^>]*>(.*?)</span>", heads[1]) == ["photo", "country", "a", "b"]
    assert "worst: (a, b) => (key(b) ?? 1e9) - (key(a) ?? 1e9)" in text
    assert "2 not run" not in text
    assert "1 not run in b: they count as wrong" in text


def test_csv_and_json_hold_the_same_figures(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "mine")
    rows = list(csv.DictReader(io.StringIO(report(folder, "--format", "csv"))))
    content = json.loads(report(folder, "--format", "json"))
    # Errors of 1, 10, 100, 1000 and 10,000 km twice each, and two of twelve without an answer.
    assert content["runs"][0]["accuracy"] == pytest.approx(
        {"1": 100 / 6, "25": 100 / 3, "200": 50.0, "750": 50.0, "2500": 200 / 3}
    )
    assert {km: float(rows[0][km]) for km in ("1", "25", "200", "750", "2500")} == content["runs"][
        0
    ]["accuracy"]
    assert len(rows) == 1 + len(content["published"])
    assert [row["name"] for row in rows[1:]] == [f"{row['name']}" for row in content["published"]]


def test_figures_are_images(tmp_path: Path) -> None:
    report(run_folder(tmp_path / "_a$x$"), "--out", tmp_path / "r.html")
    images = [
        str(attrs["src"]).split(",", 1)
        for tag, attrs in Page((tmp_path / "r.html").read_text(encoding="utf-8")).elements
        if tag == "img"
    ]
    drawn = [base64.b64decode(content) for head, content in images if "svg" in head]
    assert len(drawn) == 4
    for svg in drawn:
        words = " ".join(ElementTree.fromstring(svg).itertext())
        assert "_a$x$" in words
        assert "mathdefault" not in words
    assert [base64.b64decode(content)[:4] for head, content in images if "png" in head] == [
        b"\x89PNG"
    ]


@pytest.mark.parametrize("form", ["html", "md", "csv", "json"])
def test_runs_without_an_answer_and_of_two_benchmarks(form: str, tmp_path: Path) -> None:
    truth = truths([(10.0, 10.0), (0.0, -30.0)])
    empty = write_run(tmp_path / "empty", truth, {})
    one = write_run(
        tmp_path / "one",
        truths([(-41.3, 174.8)]),
        {"0.jpg": away(-41.3, 174.8, 9000, 90)},
        benchmark="yfcc4k",
    )
    target = tmp_path / f"r.{form}"
    text = (
        report(empty, run_folder(tmp_path / "full"), one, "--format", form, "--out", target)
        or target.read_text()
    )
    for name in ("empty", "full", "one"):
        assert name in text
    if form == "html":
        page = Page(text)
        text = " ".join([*page.words, *page.scripts])
    assert "NaN" not in text


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a")
    done = CliRunner().invoke(
        app, ["bench", "report", str(folder), "--out", str(tmp_path / "none" / "r.html")]
    )
    assert isinstance(done.exception, SourceError)
    assert "cannot be written" in str(done.exception)


points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@settings(deadline=None, max_examples=200)
@given(points, points)
@example((0.0, 0.0), (0.0, 180.0))
@example((90.0, 0.0), (-90.0, 0.0))
@example((10.0, 180.0), (10.0, -180.0))
@example((-16.8, 179.9), (-17.2, -179.5))
@example((5.0, 5.0), (5.0, 5.0))
def test_great_circles_are_the_shortest_way_and_never_cross_the_map(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    pieces = great_circle(np.array(a), np.array(b))
    assert pieces[0][0].tolist() == [a[1], a[0]]
    assert pieces[-1][-1].tolist() == [b[1], b[0]]
    length = 0.0
    for piece in pieces:
        assert np.abs(np.diff(piece[:, 0])).max(initial=0) <= 180
        length += sum(SPHERE.Inverse(y, x, v, u)["s12"] for (x, y), (u, v) in pairwise(piece))
    for before, after in pairwise(pieces):
        assert before[-1][0] == -after[0][0]
        assert abs(before[-1][0]) == 180
        assert before[-1][1] == after[0][1]
    straight = SPHERE.Inverse(*a, *b)["s12"]
    # A cut is placed by straight lines on the map, which near a pole costs some of the way.
    assert straight - 1 <= length <= straight * 1.01 + 200_000


def test_outlines_are_the_coasts_of_the_earth() -> None:
    lines = outlines()
    every = np.vstack(lines)
    assert (np.abs(every) <= [180, 90]).all()
    assert max(np.abs(np.diff(line[:, 0])).max() for line in lines) < 60
    for lon, lat in ((-5.6, 36.0), (18.5, -34.4), (-67.3, -55.9)):  # Gibraltar, the Cape, Cape Horn
        assert np.hypot(every[:, 0] - lon, every[:, 1] - lat).min() < 2
