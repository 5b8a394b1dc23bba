"""Scores against distances planned with geographiclib; and anyone's predictions as CSV."""

import csv
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from img2loc.bench.datasets.benchmark import Truth, find
from img2loc.bench.reports.tables import score_table
from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.calibration import coverage, risk_coverage
from img2loc.bench.scores.external import (
    AT_ZERO,
    EMPTY,
    NOT_NUMBERS,
    OUT_OF_RANGE,
    match,
    read_truth,
)
from img2loc.bench.scores.outcomes import of_run
from img2loc.bench.scores.score import score
from img2loc.cli import app
from img2loc.core.errors import SourceError
from img2loc.core.places import continents
from tests.conftest import SHARED
from tests.score_toys import away, located, outcomes, random_outcomes, truths, write_run

THRESHOLDS = (1, 25, 200, 750, 2500)
MILLIMETRE = 1e-6


@pytest.fixture(params=["im2gps", "im2gps3k", "yfcc4k"])
def benchmark_csv(request: pytest.FixtureRequest) -> Path:
    path = SHARED / "benchmarks" / f"{request.param}.csv"
    if not path.is_file():
        pytest.skip(f"the truth is not at {path}")
    return path


def planned(count: int) -> Iterator[float]:
    """Distances just inside, on and just outside each threshold, and far from any."""
    plan = [km + shift for km in THRESHOLDS for shift in (-MILLIMETRE, 0.0, MILLIMETRE)] + [
        0.0,
        0.5,
        12,
        120,
        600,
        9000,
        19900,
    ]
    for number in range(count):
        yield plan[number % len(plan)]


def expected(distances: list[float], n: int) -> dict[str, float]:
    return {str(km): 100 * sum(distance <= km for distance in distances) / n for km in THRESHOLDS}


def test_planned_distances_score_as_planned(benchmark_csv: Path, tmp_path: Path) -> None:
    truth, _ = read_truth(benchmark_csv)
    plan = list(planned(len(truth)))
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "lat", "lon"])
        for number, (row, km) in enumerate(zip(truth, plan, strict=True)):
            end = away(row.location.lat, row.location.lon, km, 37.0 * number % 360)
            writer.writerow([row.id, repr(end["lat"]), repr(end["lon"])])
    scores = score(match(tmp_path / "p.csv", benchmark_csv).outcomes, units=())
    assert scores["n"] == scores["answered"] == len(truth)
    assert scores["accuracy"] == pytest.approx(expected(plan, len(plan)), rel=1e-12)
    assert scores["median_km"] == pytest.approx(float(np.median(plan)), abs=1e-6)
    assert scores["mean_km"] == pytest.approx(float(np.mean(plan)), abs=1e-4)
    assert scores["geoguessr"] == pytest.approx(
        float(np.mean(5000 * np.exp(-np.array(plan) / 1492.7))), abs=1e-3
    )


@pytest.mark.parametrize(
    "point",
    [(0.0, 180.0), (12.0, -180.0), (-17.0, 179.9999), (90.0, 0.0), (-90.0, 45.0), (89.999, -179.0)],
)
@pytest.mark.parametrize("km", THRESHOLDS)
def test_thresholds_at_the_antimeridian_and_the_poles(point: tuple[float, float], km: int) -> None:
    azimuths = [float(azimuth) for azimuth in range(0, 360, 30)]
    for shift, counts in ((-MILLIMETRE, 100.0), (0.0, 100.0), (MILLIMETRE, 0.0)):
        truth = truths([point] * len(azimuths))
        guesses = {
            row.id: away(*point, km + shift, azimuth)
            for row, azimuth in zip(truth, azimuths, strict=True)
        }
        assert score(outcomes(truth, guesses), units=())["accuracy"][str(km)] == counts, shift


@pytest.mark.parametrize("km", THRESHOLDS)
def test_strict_leaves_out_what_is_on_a_threshold(km: int) -> None:
    for shift, counts in ((-2 * MILLIMETRE, 100.0), (0.0, 0.0), (MILLIMETRE, 0.0)):
        truth = truths([(10.0, 20.0)])
        made = outcomes(truth, {"0.jpg": away(10.0, 20.0, km + shift, 37.0)})
        scores = score(made, units=(), strict=True)
        assert (scores["accuracy"][str(km)], scores["distance"]["compare"]) == (counts, "<"), shift


def test_strict_is_an_option(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", truths([(0.0, 0.5)]), {"0.jpg": away(0.0, 0.5, 25.0, 0.0)})
    shown = CliRunner().invoke(app, ["bench", "score", str(run), "--strict"])
    assert "within means <.\n" in shown.stdout
    assert json.loads((run / "scores.json").read_text())["accuracy"]["25"] == 0.0


def test_unanswered_photos_stay_in_the_denominator(tmp_path: Path) -> None:
    truth = truths([(10.0, float(lon)) for lon in range(100)])
    statuses = ["unsure", "refused", "unparsed", "unreadable", "failed"]
    predictions: dict[str, dict[str, Any]] = {
        row.id: located(10.0, row.location.lon) for row in truth[:51]
    }
    predictions |= {
        row.id: {"status": statuses[n % 5], "lat": None, "lon": None}
        for n, row in enumerate(truth[51:90])
    }
    run = write_run(tmp_path / "run", truth, predictions)
    scores = score(of_run(Run.open(run)))
    assert (scores["n"], scores["answered"]) == (100, 51)
    assert set(scores["accuracy"].values()) == {51.0}
    assert set(scores["accuracy_answered"].values()) == {100.0}
    assert scores["geoguessr"] == pytest.approx(0.51 * 5000)
    assert (scores["median_km"], scores["mean_km"]) == (0.0, 0.0)
    counted = {status: kept["n"] for status, kept in scores["status"].items()}
    assert counted == {
        "located": 51,
        "missing": 10,
        "unsure": 8,
        "refused": 8,
        "unparsed": 8,
        "unreadable": 8,
        "failed": 7,
    }
    shown = CliRunner().invoke(app, ["bench", "score", str(run)])
    assert shown.exit_code == 0
    assert "of all 100 photos" in shown.stdout
    assert "of the 51 answered only" in shown.stdout
    assert [line for line in shown.stdout.splitlines() if len(line) > 80] == []
    assert json.loads((run / "scores.json").read_text()) == json.loads(json.dumps(scores)) | {
        "name": "toy, retrieval"
    }


def test_coordinates_without_the_status_located_do_not_count() -> None:
    truth = truths([(10.0, 10.0)] * 4)
    odd: list[dict[str, Any]] = [
        {"status": "unsure", "lat": 10.0, "lon": 10.0},
        {"status": "located", "lat": None, "lon": None},
        {"status": "located", "lat": 10.0, "lon": 200.0},
        {"status": "located", "lat": "10", "lon": 10.0},
    ]
    scores = score(
        outcomes(truth, {row.id: record for row, record in zip(truth, odd, strict=True)}), units=()
    )
    assert scores["answered"] == 0
    assert scores["accuracy"]["2500"] == 0.0
    assert scores["accuracy_answered"]["1"] is scores["median_km"] is scores["mean_km"] is None
    assert (scores["status"]["unsure"]["n"], scores["status"]["unparsed"]["n"]) == (1, 3)


def test_geodesic_differs_from_the_great_circle() -> None:
    truth = truths([(0.0, 0.0)])
    guess = {
        "0.jpg": away(0.0, 0.0, 25.0, 0.0)
    }  # Northwards a degree of the ellipsoid is shorter here.
    sphere, ellipsoid = (
        score(outcomes(truth, guess), model, ())["median_km"]
        for model in ("great-circle", "geodesic")
    )
    assert sphere == pytest.approx(25.0)
    # One degree of meridian at the equator: 110.574 km on WGS84, 111.195 km on the sphere.
    assert ellipsoid == pytest.approx(25.0 * 110.574 / 111.195, abs=1e-3)


def test_by_place_and_right_country() -> None:
    truth = truths([(48.86, 2.35), (48.86, 2.35), (-33.87, 151.21), (0.0, -30.0)])
    guesses = {
        "0.jpg": located(48.86, 2.35),
        "1.jpg": located(51.5, -0.12),
        "3.jpg": located(0.0, -30.0),
    }
    scores = score(outcomes(truth, guesses), units=())
    assert {name: held["n"] for name, held in scores["continents"].items()} == {
        "Europe": 2,
        "Oceania": 1,
        "unknown": 1,
    }
    assert scores["countries"]["FR"]["accuracy"]["25"] == 50.0
    assert scores["countries"]["AU"]["answered"] == 0
    assert scores["right_country"] == {"n": 1, "share": 25.0}


def test_every_country_of_the_towns_has_one_continent() -> None:
    from img2loc.core.places import _towns

    codes = set(_towns().table["country_code"].unique().to_pylist())
    assert len(codes) > 200
    assert codes <= set(continents())
    assert Counter(continents().values())["Antarctica"] <= 5
    assert {continents()[code] for code in ("FR", "RU", "GB")} == {"Europe"}
    assert (
        continents()["EG"],
        continents()["JP"],
        continents()["CU"],
        continents()["BR"],
        continents()["NZ"],
    ) == (*("Africa", "Asia", "North America", "South America", "Oceania"),)


def test_near_duplicates_are_scored_apart() -> None:
    truth = truths([(10.0, 10.0)] * 4)
    records: list[dict[str, Any]] = [
        located(10.0, 10.0, top_similarity=0.95, excluded=2),
        located(50.0, 10.0, top_similarity=0.949, excluded=0),
        located(50.0, 10.0, top_similarity=None, excluded=None),
        {"status": "refused", "top_similarity": 0.99, "excluded": 1},
    ]
    leaks = score(
        outcomes(truth, {row.id: record for row, record in zip(truth, records, strict=True)}),
        units=(),
    )["leaks"]
    assert leaks["near_duplicates"] == {"n": 2, "share": 50.0}
    assert leaks["unchecked"] == {"n": 1, "share": 25.0}
    assert leaks["scores_near_duplicates"]["accuracy"]["1"] == 50.0
    assert leaks["scores_without"]["accuracy"]["1"] == 0.0
    assert (leaks["rows_excluded"], leaks["exclusion_unchecked"]["n"]) == (3, 1)


def leak_lines(
    records: list[dict[str, Any]], authors: tuple[str, ...] = (), **about: Any
) -> list[str]:
    truth = truths([(10.0, 10.0)] * len(records), authors)
    made = outcomes(
        truth, {row.id: record for row, record in zip(truth, records, strict=True)}, **about
    )
    lines = score_table(score(made)).splitlines()
    assert max(map(len, lines)) <= 80
    return lines[next(number for number, line in enumerate(lines) if line.startswith("Leaks")) :]


def test_the_table_says_whose_photographer_could_not_be_checked() -> None:
    records = [located(10.0, 10.0, top_similarity=0.5, excluded=2, photographer_checked=False)] * 3
    assert leak_lines([*records, records[0] | {"photographer_checked": True}]) == [
        "Leaks: 0 photos have a gallery row of similarity ≥ 0.95 (0.0 %).",
        "  Rows kept out: 8; photographer not checked for 3 photos (75.0 %).",
    ]
    unknown = [record | {"top_similarity": None} for record in records]
    assert leak_lines(unknown) == [
        "Leaks: similarity to a gallery not known for any photo.",
        "  Rows kept out: 6; photographer not checked for 3 photos (100.0 %).",
    ]


def test_a_run_that_kept_nothing_out_says_so() -> None:
    lines = leak_lines(
        [located(10.0, 10.0, top_similarity=0.5, excluded=None)], leaks={"exclude": False}
    )
    assert lines[1:] == [
        "  Rows of the photo's own id and photographer were searched (--no-exclude)."
    ]


def of(what: str, inside: int | None = None) -> dict[str, Any]:
    """A run over a gallery of `what`, with so many of the truth's coordinates."""
    found = {} if inside is None else {"leaks": {"truth_coordinates": inside}}
    return {"gallery": "g", "config": {"gallery": {"of": what}}, **found}


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"gallery": None, "gallery_rows": 0}, "none to look for; no gallery was searched"),
        (of("points"), "not known whether the gallery of points has rows where photos were taken"),
        (of("points", 0), "no photo was taken within 1 m of a row of the gallery, which holds"),
        (of("texts", 1), "1 photos (100.0 %) were taken within 1 m of a row of the gallery,"),
    ],
)
def test_where_no_photos_are_searched_the_truths_coordinates_may_be(
    about: dict[str, Any], says: str
) -> None:
    lines = leak_lines([located(10.0, 10.0, top_similarity=0.99)], **about)
    assert " ".join(" ".join(lines).split()).startswith(f"Leaks: {says}")


@pytest.mark.parametrize(
    ("authors", "says"),
    [
        (("", "", ""), "over 3 single photos: photographers are not known"),
        (("a", "a", ""), "over 1 photographers and 1 photos without a known one"),
        (("a", "b", "b"), "over 2 photographers"),
    ],
)
def test_intervals_are_over_photographers_only_where_these_are_known(
    authors: tuple[str, ...], says: str
) -> None:
    truth = truths([(10.0, 10.0)] * 3, authors)
    assert f"intervals {says} Per cent" in " ".join(score_table(score(outcomes(truth, {}))).split())


def test_calibration_counts_truths_inside_the_radius() -> None:
    radius = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 5.0])
    errors = np.array([0.5, 2.0, 3.1, 9.0, 0.1, np.nan])
    found = coverage(radius, errors)
    assert (found["n"], found["inside"], found["median_radius_km"]) == (4, 50.0, 2.5)
    # Wilson's interval of 2 of 4 (Brown, Cai, DasGupta, 2001).
    assert found["interval"] == pytest.approx([15.0, 85.0], abs=0.05)
    assert sum(group["n"] for group in found["groups"]) == 4
    assert [group["inside"] for group in found["groups"]] == [100.0, 100.0, 0.0, 0.0]
    many = coverage(np.arange(1000.0), np.full(1000, 499.5))
    assert [group["n"] for group in many["groups"]] == [100] * 10
    assert [group["inside"] for group in many["groups"]] == [0.0] * 5 + [100.0] * 5
    tied = coverage(np.array([7.0] * 50 + [9.0] * 50), np.full(100, 8.0))
    assert [(group["from_km"], group["to_km"], group["inside"]) for group in tied["groups"]] == [
        (7, 7, 0),
        (9, 9, 100),
    ]


def test_risk_and_coverage_by_hand() -> None:
    right = np.array([[True], [False], [True], [False], [False]])
    found = risk_coverage(
        np.array([1.0, 2.0, 2.0, np.nan, 0.1]), np.array([1, 1, 1, 1, 0], dtype=bool), right, [25]
    )
    curve = found["thresholds"]["25"]
    # The two of radius 2 count as half wrong each; the one without a radius comes last; the
    # unanswered never.
    assert curve["risk"] == pytest.approx([0.0, 25.0, 100 / 3, 50.0])
    assert found["coverage"] == pytest.approx([20.0, 40.0, 60.0, 80.0])
    assert curve["area"] == pytest.approx((0 + 25 + 100 / 3 + 50) / 4)
    assert curve["area_random"] == 50.0
    assert curve["area_best"] == pytest.approx((0 + 0 + 100 / 3 + 50) / 4)
    # Of all five the surest 1, 2, 3, 4, 5, 5; the unanswered one is the last, and wrong.
    assert curve["risk_of_all"] == pytest.approx(
        {"10": 0.0, "25": 25.0, "50": 100 / 3, "75": 50.0, "90": 60.0, "100": 60.0}
    )


def test_refusing_most_photos_does_not_lower_the_risk_of_all() -> None:
    right, radius = np.ones((10, 1), dtype=bool), np.arange(10.0)
    right[5:] = False
    all_answered, few = np.ones(10, dtype=bool), radius < 2
    full, shy = (risk_coverage(radius, who, right, [25]) for who in (all_answered, few))
    assert shy["thresholds"]["25"]["area"] < full["thresholds"]["25"]["area"]
    assert [curve["thresholds"]["25"]["risk_of_all"]["50"] for curve in (full, shy)] == [0.0, 60.0]
    assert shy["thresholds"]["25"]["risk_of_all"]["100"] == 80.0


def test_five_thousand_with_intervals_take_under_five_seconds_of_cpu() -> None:
    made = random_outcomes(5000, photographers=3000)
    started = time.process_time()
    scores = score(made)
    assert time.process_time() - started < 5
    assert scores["intervals"]["photographers"]["resamples"] == 2000


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


TRUTH = "file,lat,lon,author\na/1.jpg,10,20,x\nb/2.jpg,-10,179.5,y\nc/3.jpg,0,1,\n"


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        ("id,lat,lon", ["a/1.jpg", "b/2.jpg"]),
        ("IMG_ID,LAT,LON", ["1.jpg", "2.jpg"]),
        ("filename,pred_lat,pred_lon", ["1", "2"]),
        ("img_id,pred_lat,pred_lng", ["z/1.png", "y/2.png"]),
        ("image,latitude,longitude", ["1.JPG", "2.JPG"]),
        ("image_path,lat_pred,lng_pred", ["C:\\x\\1.jpg", "C:\\x\\2.jpg"]),
        ("Name;Latitude;Longitude", ["1.jpg", "2.jpg"]),
    ],
)
def test_usual_columns_and_ids_are_recognised(header: str, ids: list[str], tmp_path: Path) -> None:
    mark = ";" if ";" in header else ","
    rows = [mark.join([ids[0], "10", "20"]), mark.join([ids[1], "-10", "-179.5"])]
    matched = match(
        write(tmp_path / "p.csv", "\n".join([header, *rows])), write(tmp_path / "t.csv", TRUTH)
    )
    assert matched.outcomes.status == ("located", "located", "missing")
    assert matched.outcomes.errors_km()[:2] == pytest.approx([0.0, 109.5], abs=0.1)
    assert (matched.rows, matched.without_row, matched.unknown) == (2, 1, ())


def test_a_mark_and_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbf\r\nid,lat,lon\r\n1.jpg,10,20\r\n\r\n")
    matched = match(tmp_path / "p.csv", write(tmp_path / "t.csv", TRUTH))
    assert (matched.rows, matched.outcomes.status[0]) == (1, "located")


def test_a_predicted_column_wins_over_the_true_one_beside_it(tmp_path: Path) -> None:
    text = "IMG_ID,LAT,LON,pred_lat,pred_lon\n1.jpg,10,20,11,21\n"
    matched = match(write(tmp_path / "p.csv", text), write(tmp_path / "t.csv", TRUTH))
    assert matched.outcomes.guess[0].tolist() == [11.0, 21.0]


def test_rows_without_a_point_on_earth_are_unanswered_and_counted(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "id,lat,lon\n" + "".join(f"{n},1,1\n" for n in range(8)))
    text = "id,lat,lon\n0,,\n1,NaN,nan\n2,91,0\n3,0,180.1\n4,north,5\n5,0,0\n6,1,1\nother,1,1\n"
    matched = match(write(tmp_path / "p.csv", text), truth)
    counts = {"": 1, EMPTY: 2, NOT_NUMBERS: 1, OUT_OF_RANGE: 2, AT_ZERO: 1}
    assert (matched.unusual, matched.without_row) == (counts, 1)
    assert matched.unknown == ("other",)
    scores = score(matched.outcomes, units=())
    assert (scores["n"], scores["answered"], scores["accuracy"]["1"]) == (8, 2, 12.5)
    told = CliRunner().invoke(
        app,
        [
            "bench",
            "score",
            "--predictions",
            str(tmp_path / "p.csv"),
            "--truth",
            str(truth),
            "--json",
        ],
    )
    printed = json.loads(told.stdout)
    assert (printed["n"], printed["answered"], printed["accuracy"]["1"]) == (8, 2, 12.5)
    assert len(printed["notes"]) == 6


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,lat,lon\na/1.jpg,1,1\na/1.jpg,2,2\n", "more than once"),
        ("id,lat,lon\na/1.jpg,1,1\nx/1.jpg,2,2\nq/1.png,1,1\n", "more than once"),
        ("id,lat,lon\nnone.jpg,1,1\n", "No id of"),
        ("id,lat,lon\n", "No id of"),
        ("id,latitude\n1,1\n", "no column for the lon"),
        ("name,file,lat,lon\n1,1,1,1\n", "2 columns for the id"),
        ("id,pred_lat,lon\n1,1,1\n", "no pair"),
        ("id,lat,lon\na/1.jpg,1,1\nRome, Italy.jpg,1,1\n", "line 3: more cells than columns"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("id|lat|lon\na/1.jpg|1|1\n", "separated by comma or semicolon or tab"),
    ],
)
def test_what_cannot_be_matched_is_an_error(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=says):
        match(write(tmp_path / "p.csv", text), write(tmp_path / "t.csv", TRUTH))


def test_ambiguous_names_are_not_matched(tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "file,lat,lon\na/1.jpg,1,1\nb/1.jpg,2,2\nb/2.jpg,2,2\n")
    matched = match(write(tmp_path / "p.csv", "id,lat,lon\n1.jpg,1,1\n2.jpg,2,2\n"), truth)
    assert (matched.unknown, matched.outcomes.status) == (
        ("1.jpg",),
        ("missing", "missing", "located"),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,lat,lon\n1,95,1\n", "no point"),
        ("id,lat,lon\n1,0,0\n", "placeholder"),
        ("id,lat,lon\n", "no rows"),
    ],
)
def test_a_damaged_truth_is_an_error(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=says):
        read_truth(write(tmp_path / "t.csv", text))


def test_a_truth_is_read_by_the_rules_of_a_run(tmp_path: Path) -> None:
    rows_text = "a/1.jpg,1,1,x\na_1.jpg,2,2,y\nb.jpg,0,0,y\nc.jpg,3,3,z\nd.jpg,95,3,z\n"
    text = f"file,lat,lon,author\n{rows_text}"
    path = write(tmp_path / "t.csv", text)
    rows, skipped = read_truth(path)
    run_rows, run_skipped = find(str(path)).load()
    assert [(row.id, row.location, row.author) for row in rows] == [
        (row.id, row.location, row.author) for row in run_rows
    ]
    assert [row.id for row in rows] == ["a/1.jpg", "c.jpg"]
    assert [line.split(":")[0] for line in skipped] == [line.split(":")[0] for line in run_skipped]
    matched = match(write(tmp_path / "p.csv", "id,lat,lon\na/1.jpg,1,1\n"), path)
    assert matched.notes()[0].startswith("3 rows of the truth cannot be used; the first: a_1.jpg")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("104123223_7410c654ba_19_19355699@N00.jpg", "104123223.jpg"),
        ("4763369508.jpg", "e1_55_4763369508.jpg"),
        ("e1/55/4763369508.jpg", "4763369508"),
    ],
)
def test_the_names_of_a_flickr_photo_match(ours: str, theirs: str, tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", f"file,lat,lon\n{ours},1,1\n99999999.jpg,2,2\n")
    matched = match(write(tmp_path / "p.csv", f"id,lat,lon\n{theirs},1,1\n"), truth)
    assert matched.outcomes.status == ("located", "missing")


@pytest.mark.parametrize("header", ["id,file", "id,photo_id", "id,image_name", "id,img_name"])
def test_a_row_number_as_id_gives_way_to_the_photos_name(header: str, tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", TRUTH)
    matched = match(
        write(tmp_path / "p.csv", f"{header},lat,lon\n7,1.jpg,10,20\n8,2.jpg,1,1\n"), truth
    )
    assert matched.outcomes.status == ("located", "located", "missing")
    assert matched.outcomes.guess[0].tolist() == [10.0, 20.0]
    numbered = write(tmp_path / "n.csv", "id,file,lat,lon\n0,a/1.jpg,10,20\n1,b/2.jpg,1,1\n")
    found = match(write(tmp_path / "q.csv", "file,lat,lon\n2.jpg,1,1\n"), numbered).outcomes
    assert (found.ids, found.status) == (("0", "1"), ("missing", "located"))


def test_decimal_commas_are_told_from_points_that_are_not_on_earth(tmp_path: Path) -> None:
    text = "id;lat;lon\n1.jpg;10,5;20,1\n2.jpg;91;0\n"
    notes = match(write(tmp_path / "p.csv", text), write(tmp_path / "t.csv", TRUTH)).notes()
    assert (
        "1 rows have coordinates that are no numbers, such as lat '10,5', lon '20,1' of 1.jpg:"
        " unanswered." in notes[1]
    )
    assert "decimal comma" in notes[1]
    assert (
        "1 rows have coordinates that are no point on Earth, such as lat '91', lon '0' of 2.jpg"
        in notes[2]
    )


def test_nothing_to_score_is_an_error() -> None:
    empty: list[Truth] = []
    with pytest.raises(SourceError, match="no photographs"):
        outcomes(empty, {})


@pytest.mark.parametrize(
    "arguments",
    [[], ["--predictions", "p.csv"], ["run", "--predictions", "p.csv", "--truth", "t.csv"]],
)
def test_score_wants_a_run_or_two_files(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", "score", *arguments]).exit_code == 2
