"""GeoCLIP through the command line, with small random weights in folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from img2loc.encoders import geoclip_towers
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
    assert "300 points by geoclip/512d-32px" in err
    return points


def test_without_weights_it_is_said_what_is_missing(run: Cli, make_photo: MakePhoto) -> None:
    for name in ("geoclip", "geoclip-ten-crop"):
        code, out, err = run("ask", "--locator", name, make_photo())
        assert (code, out) == (1, "")
        assert "openai/clip-vit-large-patch14 (1.7 GB, MIT)" in err
        assert f"img2loc setup {name}" in err
    code, _, err = run("index", "build", "gps-100k")
    assert code == 1
    assert "openai/clip-vit-large-patch14 (1.7 GB, MIT)" in err
    code, _, err = run("setup", "geoclip")
    assert code == 1
    assert "missing  encoder geoclip: openai/clip-vit-large-patch14" in err
    assert "missing  gallery gps-100k" in err


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
    import img2loc

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
