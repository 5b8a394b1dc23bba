"""GeoCLIP through the command line, with small random weights in folders."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import img2loc
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from img2loc.encoders import geoclip_towers
from img2loc.gallery.manifest import MANIFEST
from img2loc.locators.text_search import TextSearch
from tests.cli.test_cli import KEYS
from tests.conftest import Cli, MakePhoto, configure
from tests.server import ChatServer, says


@pytest.fixture
def configured(tiny_clip: Path, tmp_path: Path, run: Cli) -> Path:
    """A configuration with a small CLIP and random GeoCLIP parts, and its gallery of points."""
    torch.manual_seed(1)
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=24), tmp_path / "parts", {})
    configure(
        f'[encoder.clip-l14-hf]\nmodel = "{tiny_clip}"\n[encoder.geoclip]\nweights ='
        f' "{tmp_path / "parts"}"\n[encoder.geoclip-ten-crop]\nweights = "{tmp_path / "parts"}"\n'
    )
    random = np.random.default_rng(2)
    rows = [
        f"{lat},{lon}"
        for lat, lon in zip(
            random.uniform(-60, 70, 300), random.uniform(-180, 180, 300), strict=True
        )
    ]
    points = tmp_path / "points.csv"
    points.write_text("LAT,LON\n" + "\n".join(rows) + "\n")
    folder = tmp_path / "home" / "galleries" / "gps-100k"
    code, _, err = run(
        "index", "build", points, "--of", "points", "--encoder", "geoclip", "--out", folder
    )
    assert code == 0, err
    assert "300 points by geoclip-location/512d@" in err
    return points


def test_without_weights_it_is_said_what_is_missing(run: Cli, make_photo: MakePhoto) -> None:
    for name in ("geoclip", "geoclip-ten-crop"):
        code, out, err = run("ask", "--locator", name, make_photo())
        assert (code, out) == (1, "")
        assert "openai/clip-vit-large-patch14 (1.7 GB, MIT)" in err
        assert f"img2loc setup {name}" in err
    code, _, err = run("setup", "geoclip")
    assert code == 1
    assert "missing  encoder geoclip: openai/clip-vit-large-patch14" in err
    assert "missing  gallery gps-100k" in err


def points_table(path: Path, n: int) -> Path:
    random = np.random.default_rng(3)
    degrees = zip(random.uniform(-60, 70, n), random.uniform(-180, 180, n), strict=True)
    path.write_text("lat,lon\n" + "\n".join(f"{lat},{lon}" for lat, lon in degrees) + "\n")
    return path


CLIP_IS_MISSING = (
    r"\[encoder\.clip-l14-hf\] needs the weights openai/clip-vit-large-patch14 \(1\.7 GB, MIT\)"
    r".*img2loc setup geoclip"
)


def test_points_need_no_image_tower(run: Cli, tmp_path: Path) -> None:
    points = points_table(tmp_path / "points.csv", 1000)
    code, _, err = run("embed", points, "--encoder", "geoclip", "--out", "x.npy")
    assert code == 0, err
    rows = np.load("x.npy")
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    words = ("index", "build", points, "--of", "points", "--encoder", "geoclip")
    code, _, err = run(*words, "--device", "cpu", "--out", tmp_path / "cli")
    assert code == 0, err
    assert "1,000 points by geoclip-location/512d@" in err
    built = img2loc.build_gallery(points, tmp_path / "python", encoder="geoclip", of="points")
    assert json.loads((tmp_path / "cli" / MANIFEST).read_text()) == built.manifest
    encoder: Any = img2loc.load_encoder("geoclip")
    assert encoder.encode_points([built.metadata[7][1]])[0] == pytest.approx(rows[7], abs=1e-5)
    assert run("index", "build", points, *words[3:], "--part", "1/1", "--out", "part")[0] == 0
    assert img2loc.Gallery.open(tmp_path / "cli").encoder_name == encoder.location_name


def test_photos_without_the_image_tower_fail_before_any_work(
    run: Cli, tmp_path: Path, make_photo: MakePhoto
) -> None:
    points, photo = points_table(tmp_path / "points.csv", 40), make_photo()
    folder = tmp_path / "home" / "galleries" / "gps-100k"
    words = ("index", "build", points, "--of", "points", "--encoder", "geoclip", "--out", folder)
    assert run(*words)[0] == 0
    truth = tmp_path / "photos.csv"
    truth.write_text(f"file,lat,lon\n{photo},1,2\n")
    for refused in (
        ("ask", "--locator", "geoclip", photo),
        ("ask", "--gallery", "gps-100k", photo),
        ("ask", "--text", "ice", "--locator", "geoclip"),
        ("index", "query", "gps-100k", photo),
        ("embed", photo, "--encoder", "geoclip", "--out", "x.npy"),
        ("index", "build", truth, "--encoder", "geoclip", "--out", "photos"),
        ("bench", "run", truth, "--locator", "geoclip", "--out", "run"),
    ):
        code, out, err = run(*refused)
        assert (code, out) == (1, ""), refused
        assert re.search(CLIP_IS_MISSING, err), refused
    assert [path.name for path in Path().iterdir() if path.name != "run"] == []
    assert not list(Path().glob("run/predictions.jsonl"))
    encoder = img2loc.load_encoder("geoclip")
    with pytest.raises(img2loc.Img2LocError, match=CLIP_IS_MISSING):
        encoder.encode([img2loc.Photo(photo)])
    # The gallery is no default: no photograph can search it here.
    code, _, err = run("ask", photo)
    assert (code, "starter gallery" in err) == (0, True)
    _, out, _ = run("doctor", "--all")
    assert (
        "  geoclip: can embed points now; for photos, weights not here (1.7 GB, MIT): img2loc setup"
        " geoclip\n" in out
    )
    assert "  geoclip: lacks\n" in out
    code, _, err = run("index", "info", "gps-21k")
    assert (code, "clip-vit" in err) == (1, False)
    assert err.endswith("Get it: img2loc index build gps-21k\n")


def test_a_gallery_of_points_answers_whether_its_name_has_the_image_tower_or_not(
    configured: Path, run: Cli, make_photo: MakePhoto
) -> None:
    """Galleries of earlier versions have the name of the whole encoder."""
    photo = make_photo()
    code, now, _ = run("ask", "--json", "--locator", "geoclip", photo)
    assert code == 0
    file = configured.parent / "home" / "galleries" / "gps-100k" / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["encoder"]["name"] = factory.encoder(Config.load(), "geoclip").name
    assert manifest["encoder"]["name"].startswith("geoclip/512d-32px@")
    file.write_text(json.dumps(manifest))
    code, earlier, _ = run("ask", "--json", "--locator", "geoclip", photo)
    assert code == 0
    assert json.loads(earlier)["nearest"] == json.loads(now)["nearest"]
    manifest["encoder"]["name"] = "geoclip/512d-32px@000000000000"
    file.write_text(json.dumps(manifest))
    code, _, err = run("ask", "--locator", "geoclip", photo)
    assert (code, "their vectors do not compare" in err) == (1, True)


def test_with_weights_it_is_the_default_and_answers_like_the_others(
    configured: Path, run: Cli, make_photo: MakePhoto
) -> None:
    code, out, err = run("ask", "--json", make_photo())
    assert code == 0, err
    assert "Using geoclip: the gallery gps-100k (300 points)" in err
    told = json.loads(out)
    assert list(told) == KEYS
    assert (told["locator"], told["gallery"]) == ("geoclip", "gps-100k")
    likely = [entry["probability"] for entry in told["nearest"]]
    assert likely == sorted(likely, reverse=True)
    assert 0 < sum(likely) < 1
    code, out, _ = run("ask", "--json", "--locator", "geoclip-ten-crop", make_photo())
    assert code == 0
    assert json.loads(out)["encoder"] == told["encoder"]
    code, out, _ = run("ask", "--explain", make_photo())
    assert code == 0
    assert "%" in out


def test_img2loc_runs_over_a_gallery_of_points(
    configured: Path, run: Cli, make_photo: MakePhoto, chat: ChatServer
) -> None:
    chat.script(says("48.8584, 2.2945"))
    code, out, err = run("ask", "--json", "--locator", "img2loc", "--lmm", "gpt", make_photo())
    assert code == 0, err
    told = json.loads(out)
    assert (told["gallery"], len(told["nearest"]), len(told["farthest"])) == ("gps-100k", 16, 16)


def test_texts_rank_the_gallery(configured: Path, run: Cli, make_photo: MakePhoto) -> None:
    code, out, err = run(
        "ask", "--text", "a desert with red rocks", "--locator", "geoclip", "--json"
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["text"] == "a desert with red rocks"
    assert len(told["nearest"]) == 10
    assert sum(cell["probability"] for cell in told["density"]) == pytest.approx(1, abs=1e-3)
    assert all((cell["lat"] % 5, cell["lon"] % 5) == (2.5, 2.5) for cell in told["density"])
    # The cells hold what the entries hold.
    search = factory.text_search(Plan(Config.load(), "geoclip"))
    assert isinstance(search, TextSearch)
    (whole,) = search.rank(["a desert with red rocks"], k=300)
    assert whole.density is not None
    lat, lon, mass = whole.density[0]
    inside = [
        e
        for e in whole.nearest
        if abs(e.location.lat - lat) <= 2.5 and abs(e.location.lon - lon) <= 2.5
    ]
    assert sum(e.probability or 0 for e in inside) == pytest.approx(mass, rel=1e-4)
    code, out, _ = run("ask", "--text", "a desert with red rocks", "-k", "3")
    assert code == 0
    assert len(out.splitlines()) == 5
    for words in (["--text", "x", make_photo()], []):
        assert run("ask", *words)[0] == 2
    code, _, err = run("ask", "--text", "x", "--locator", "zeroshot")
    assert (code, "searches no gallery" in err) == (1, True)
    code, _, err = run("ask", "--text", "x", "--locator", "retrieval", "--gallery", "starter")
    assert (code, "has no text tower" in err) == (1, True)


def test_points_are_embedded_by_the_location_tower(configured: Path, run: Cli) -> None:
    assert run("embed", configured, "--encoder", "geoclip", "--out", "points.npy")[0] == 0
    rows = np.load("points.npy")
    assert rows.shape == (300, 512)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    tower = geoclip_towers.load(str(configured.parent / "parts"))[0].location_encoder
    with torch.inference_mode():
        degrees = torch.from_numpy(
            np.loadtxt(configured, delimiter=",", skiprows=1).astype(np.float32)
        )
        expected = torch.nn.functional.normalize(tower(degrees), dim=1).numpy()
    assert rows == pytest.approx(expected, abs=1e-5)


def test_an_encoder_inside_itself_is_refused(run: Cli, make_photo: MakePhoto) -> None:
    configure('[encoder.loop]\nkind = "geoclip"\nencoder = "loop"\n')
    code, _, err = run("embed", make_photo(), "--encoder", "loop", "--out", "x.npy")
    assert (code, "names itself" in err) == (1, True)


def test_the_encoder_from_python(configured: Path) -> None:
    encoder = img2loc.load_encoder("geoclip")
    assert encoder.encode_points([img2loc.Location(48.8584, 2.2945)]).shape == (1, 512)  # type: ignore[attr-defined]
    with pytest.raises(img2loc.Img2LocError, match="no encoder named 'nonsense'"):
        img2loc.load_encoder("nonsense")


def test_newer_weights_are_not_answered_for_by_an_old_gallery(
    configured: Path, run: Cli, make_photo: MakePhoto
) -> None:
    torch.manual_seed(2)
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=24), configured.parent / "parts", {})
    code, out, err = run("ask", "--locator", "geoclip", make_photo())
    assert (code, out) == (1, "")
    assert "their vectors do not compare" in err


def test_ten_crops_are_other_embeddings_of_unit_length(
    configured: Path, run: Cli, make_photo: MakePhoto
) -> None:
    photo = make_photo()
    assert run("embed", photo, "--encoder", "geoclip", "--out", "x.npy")[0] == 0
    code, _, err = run("embed", photo, "--encoder", "geoclip-ten-crop", "--out", "x.npy")
    assert (code, "views is" in err) == (1, True)
    assert run("embed", photo, "--encoder", "geoclip-ten-crop", "--out", "y.npy")[0] == 0
    single, ten = np.load("x.npy"), np.load("y.npy")
    assert np.linalg.norm(ten, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(single, ten, atol=1e-4)


@pytest.mark.parametrize(
    "option",
    [["--max-radius", "5"], ["--explain"], ["--local-only"], ["--cache"], ["--lmm", "gpt"]],
)
def test_options_that_mean_nothing_for_texts_are_refused(run: Cli, option: list[str]) -> None:
    code, _, err = run("ask", "--text", "ice", *option)
    assert code == 2
    assert option[0] in err
    assert run("ask", "--text", "  ")[0] == 2
