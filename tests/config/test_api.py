"""The way in from Python gives what the command line gives."""

import json
import shutil
from pathlib import Path

import pytest

import img2loc
from img2loc.config.config import Config
from img2loc.config.galleries import STARTER, best_gallery
from img2loc.core import paths
from img2loc.core.errors import ConfigError, GalleryError, SourceError
from img2loc.gallery.gallery import Gallery
from tests.archives import make_pairs
from tests.conftest import Cli, configure
from tests.gallery.test_pipeline import contents


def test_a_gallery_built_from_python_is_the_command_lines(run: Cli, tmp_path: Path) -> None:
    configure('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    make_pairs(tmp_path / "t.tar", range(6))
    steps: list[tuple[int, int]] = []
    built = img2loc.build_gallery(
        tmp_path / "t.tar",
        str(tmp_path / "python"),
        encoder="toy",
        spec="Flat",
        progress=lambda done, total: steps.append((done, total)),
    )
    words = ("index", "build", tmp_path / "t.tar", "--encoder", "toy", "--spec", "Flat")
    assert run(*words, "--out", tmp_path / "cli")[0] == 0
    assert isinstance(built, img2loc.Gallery)
    assert (len(built), built.encoder_name, built.manifest["spec"]) == (6, "pixels/6", "Flat")
    assert (steps[0][0], steps[-1][0]) == (0, 6)
    assert contents(tmp_path / "python") == contents(tmp_path / "cli")


def test_a_gallery_without_a_folder_is_kept_under_its_recipes_name(tmp_path: Path) -> None:
    configure('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    make_pairs(tmp_path / "trip.tar", range(3))
    built = img2loc.build_gallery(tmp_path / "trip.tar", encoder="toy")
    assert built.folder.name == "trip"
    locator = img2loc.load("retrieval", gallery="trip", k=1)
    (guess,) = locator.locate([img2loc.Photo(tmp_path / "no.jpg")])
    assert guess.status == "unreadable"


def test_what_the_command_line_refuses_python_refuses(tmp_path: Path) -> None:
    configure('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    make_pairs(tmp_path / "t.tar", range(3))
    with pytest.raises(ConfigError, match="takes no device"):
        img2loc.build_gallery(tmp_path / "t.tar", encoder="toy", device="cuda:0")
    with pytest.raises(SourceError, match="a gallery is of photos, points, texts"):
        img2loc.build_gallery(tmp_path / "t.tar", encoder="toy", of="nonsense")


def test_names_that_the_readme_promises_are_there() -> None:
    promised = {"load", "load_encoder", "build_gallery", "parse_location", "place_at", "Gallery"}
    assert promised <= set(img2loc.__all__)
    assert all(callable(getattr(img2loc, name)) for name in promised)


def test_paths_may_be_given_as_text(gallery: Gallery) -> None:
    assert img2loc.Photo("a.jpg").path == Path("a.jpg")  # type: ignore[arg-type]
    assert len(img2loc.Gallery.open(str(gallery.folder))) == len(gallery)


def test_a_source_without_a_name_is_not_the_working_directory() -> None:
    with pytest.raises(SourceError, match="name of the source is empty"):
        img2loc.build_gallery("")


def test_licenses_are_a_list_and_one_that_no_row_has_is_named(tmp_path: Path) -> None:
    configure('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    table = tmp_path / "rows.csv"
    table.write_text("photo,lat,lon,license\na.jpg,1,2,CC BY 4.0\n")
    with pytest.raises(TypeError, match="licenses come as a list"):
        img2loc.build_gallery(table, encoder="toy", licenses="CC BY")
    with pytest.raises(GalleryError, match="no row has a license with 'CC0' or 'MIT'"):
        img2loc.build_gallery(table, tmp_path / "g", encoder="toy", licenses=["CC0", "MIT"])


@pytest.mark.parametrize(
    "table",
    [{"kind": ["timm"]}, {"kind": "timm"}, {"kind": "transformers"}, {"kind": "geoclip"}, {}],
)
def test_a_gallery_with_a_wrong_encoder_table_is_passed_over_and_named(
    table: dict[str, object], gallery: Gallery, run: Cli
) -> None:
    shutil.copytree(gallery.folder, paths.galleries() / "culprit")
    manifest = paths.galleries() / "culprit" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["encoder"] |= {"table": table, "alias": "unknown"}
    manifest.write_text(json.dumps(told))
    assert best_gallery(Config.load()) == STARTER
    code, out, err = run("doctor")
    assert (code, "culprit" in out, "fault of img2loc" in err) == (0, True, False)
