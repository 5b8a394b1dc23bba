"""The way in from Python gives what the command line gives."""

from pathlib import Path

import pytest

import img2loc
from img2loc.core.errors import ConfigError, SourceError
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
