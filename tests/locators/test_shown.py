"""Photographs of neighbours in a prompt: which, from where, and who gets them."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.types import Neighbour, Photo, Prompt
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.openai import OpenAIChat
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from img2loc.locators.img2loc import Img2Loc
from tests.conftest import Cli
from tests.server import ChatServer
from tests.toys import PixelEncoder


def img2loc(gallery: Gallery, lmm: object, photos: Path | None, show: int = 2) -> Img2Loc:
    return Img2Loc(
        *(PixelEncoder(), gallery, Template.load("nearest-farthest"), lmm),  # type: ignore[arg-type]
        show=show,
        photos=None if photos is None else str(photos),
    )


def pictures(request: dict[str, object]) -> list[Image.Image]:
    content = request["messages"][0]["content"]  # type: ignore[index]
    urls = [part["image_url"]["url"] for part in content[1:]]
    return [Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def test_the_nearest_photos_that_are_at_hand_are_sent(
    gallery: Gallery, toy_photos: list[Path], chat: ChatServer
) -> None:
    folder = toy_photos[0].parent
    (plain,) = Img2Loc(
        PixelEncoder(), gallery, Template.load("nearest-farthest"), Scripted(["1.5, 2.5"])
    ).locate(toy_photos[4:5])
    nearest = plain.neighbours.nearest
    (folder / nearest[1].id).write_bytes(b"junk")
    (folder / nearest[2].id).unlink()
    (guess,) = img2loc(gallery, OpenAIChat("m"), folder).locate(toy_photos[4:5])
    sent = pictures(chat.requests[0])
    assert len(sent) == 3
    for image, path in zip(
        sent, [toy_photos[4], folder / nearest[0].id, folder / nearest[3].id], strict=True
    ):
        difference = np.abs(np.asarray(image, float) - np.asarray(Image.open(path), float))
        assert difference.mean() < 10
        assert not image.getexif()
    assert plain.prompts[0] in guess.prompts[0]
    first, third = (
        f"({near.location.lat:.4f}, {near.location.lon:.4f})" for near in (nearest[0], nearest[3])
    )
    assert f"taken at {first}, {third}\n" in guess.prompts[0]
    assert nearest[0].id not in str(chat.requests)
    assert guess.replies[0].key != plain.replies[0].key


def test_other_photos_are_another_prompt(toy_photos: list[Path]) -> None:
    photo = Photo(toy_photos[0])
    shown = [Prompt("?", photo, shown=(Photo(path),)).key() for path in toy_photos[1:3]]
    assert len({Prompt("?", photo).key(), *shown}) == 3


def test_without_any_at_hand_the_prompt_says_nothing_of_them(
    gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "another-name.jpg").write_bytes(toy_photos[0].read_bytes())
    locator = img2loc(gallery, Scripted(["1.5, 2.5"]), tmp_path / "others")
    (guess,) = locator.locate(toy_photos[4:5])
    assert guess.status == "located"
    assert "photograph in question" not in guess.prompts[0]


def test_an_id_does_not_lead_out_of_the_folder(
    gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    """A gallery is anybody's data; its ids are names, not paths."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "harmless.jpg").write_bytes(toy_photos[0].read_bytes())
    (tmp_path / "secret.jpg").write_bytes(toy_photos[1].read_bytes())
    shown = img2loc(gallery, Scripted(["x"]), tmp_path / "folder")._shown
    assert shown is not None
    prompt = Prompt("?", Photo(toy_photos[0]))
    for identity in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        neighbour = Neighbour(gallery.metadata[0][1], 0.9, identity)
        assert shown.add(prompt, [neighbour]) == prompt


def test_what_cannot_be_shown_is_said_when_the_locator_is_made(
    gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    folder = toy_photos[0].parent
    points = Gallery(
        *(gallery.folder, {**gallery.manifest, "of": "points"}, gallery.index, gallery.metadata)
    )
    lmm = Scripted(["1.5, 2.5"])
    with pytest.raises(ConfigError, match="is of points, so it has no photos to show"):
        img2loc(points, lmm, folder)
    with pytest.raises(ConfigError, match=r'photos = "FOLDER"'):
        img2loc(gallery, lmm, None)
    with pytest.raises(ConfigError, match="show is 17"):
        img2loc(gallery, lmm, folder, show=17)
    with pytest.raises(SourceError):
        img2loc(gallery, lmm, tmp_path / "absent")


def test_neighbours_photos_stay_here_too_with_local_only(
    run: Cli, gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    config = tmp_path / "shown.toml"
    config.write_text(
        '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n[lmm.away]\nkind = "openai"\nmodel ='
        ' "m"\nbase_url = "https://example.org/v1"\n[lmm.one]\nkind ='
        ' "tests.locators.test_conversation:Hesitant"\n[locator.shown]\nkind = "img2loc"\nshow = 2'
        f'\ngallery = "{gallery.folder}"\nphotos = "."\n'
    )
    ask = ["ask", toy_photos[4], "--locator", "shown", "--config", config]
    code, _, err = run(*ask, "--lmm", "away", "--local-only")
    assert (code, "--local-only: the LMM 'away' sends photos" in err) == (1, True)
    code, _, err = run(*ask, "--lmm", "one")
    assert (code, "takes one photo, and [locator.shown] has show = 2" in err) == (1, True)
    code, out, err = run(*ask, "--lmm", "scripted", "--explain")
    assert (code, "The first image is the photograph in question" in out) == (0, True), err
