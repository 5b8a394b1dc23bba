"""Any file that a person may have → upright RGB pixels, or a reason."""

import gc
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.images import upright
from img2loc.core.types import Photo
from tests.conftest import MakePhoto, picture


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    upright_picture = picture(size=(96, 64))
    exif = Image.Exif()
    exif[274] = 6  # "rotate 90° clockwise to display"
    turned = saved(upright_picture.rotate(90, expand=True), "PNG", exif=exif)
    assert np.array_equal(np.asarray(upright(turned)), np.asarray(upright_picture))


def test_sixteen_bit_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = np.asarray(upright(saved(Image.fromarray(ramp), "PNG")))
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[..., 0].astype(float) - ramp / 257).max() <= 1


def test_float_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pixels = np.asarray(upright(saved(Image.fromarray(ramp), "TIFF")))
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_transparency_becomes_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert np.asarray(upright(saved(clear, "PNG"))).min() == 255
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([0] * 768)
    assert np.asarray(upright(saved(palette, "GIF", transparency=3))).min() == 255


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixels = np.asarray(upright(saved(red, "JPEG", quality=95)))
    assert pixels[..., 0].min() > 240
    assert pixels[..., 1:].max() < 15


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just some words", "not an image"),
        (saved(picture(size=(400, 400)), "JPEG")[:2000], "damaged"),
        (saved(picture(size=(400, 400)), "PNG")[:5000], "damaged"),
    ],
)
def test_broken_files_have_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadablePhoto, match=reason):
        Photo(path).image()


def test_a_missing_file_and_a_folder_have_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhoto, match="no such file"):
        Photo(tmp_path / "absent.jpg").image()
    with pytest.raises(UnreadablePhoto, match="not a regular file"):
        Photo(tmp_path).image()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = saved(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(UnreadablePhoto, match="too large"):
        upright(bomb)


def test_strips_and_large_pictures_stay_within_memory() -> None:
    """In a process of its own: each of these would take gigabytes if it were taken whole."""
    import subprocess
    import sys

    script = """
import io, resource
import numpy as np
from PIL import Image
from img2loc.core.images import upright
from img2loc.core.errors import UnreadablePhoto
def saved(image, form):
    buffer = io.BytesIO(); image.save(buffer, form); return buffer.getvalue()
strip = saved(Image.new("RGB", (1, 20000)), "PNG")
grey = saved(Image.fromarray(np.zeros((8000, 8000), np.uint16)), "PNG")
large = saved(Image.new("RGB", (12000, 10000)), "JPEG")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert upright(strip).size == (1, 16)
assert upright(grey).size == (8000, 8000)
assert upright(large).size == (6000, 5000)
try: upright(saved(Image.new("1", (10000, 10000)), "PNG")); raise SystemExit("decoded")
except UnreadablePhoto: pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 900


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadablePhoto, match=r"^not a regular file"):
        Photo(tmp_path / "pipe.jpg").image()
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(5_000_000_000)
    with pytest.raises(UnreadablePhoto, match="5000 MB, at most 500"):
        Photo(tmp_path / "sparse.jpg").image()
    (tmp_path / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(UnreadablePhoto, match="not an image"):
        Photo(tmp_path / "script.jpg").image()


def test_a_turned_strip_is_turned() -> None:
    exif = Image.Exif()
    exif[274] = 6
    assert upright(saved(Image.new("RGB", (2000, 10)), "JPEG", exif=exif)).size == (10, 160)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_lose_good_pixels() -> None:
    photo = saved(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert upright(photo).size == (96, 64)


def test_the_small_jpeg_carries_nothing_of_the_original(make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[271] = "SECRETMAKER"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    path = make_photo(
        exif=exif, comment=b"SECRETCOMMENT", icc_profile=b"SECRETPROFILE" * 20, size=(2000, 1000)
    )
    assert b"SECRET" in path.read_bytes()
    small = Photo(path).jpeg(512)
    assert b"SECRET" not in small
    assert b"Exif" not in small
    with Image.open(io.BytesIO(small)) as image:
        assert image.size == (512, 256)
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert not image.getexif()


def test_a_small_photo_is_not_enlarged(make_photo: MakePhoto) -> None:
    with Image.open(io.BytesIO(Photo(make_photo()).jpeg(1024))) as image:
        assert image.size == (96, 64)


def test_a_photo_keeps_its_digest_and_none_of_its_bytes(make_photo: MakePhoto) -> None:
    """It is read once, and may be deleted then; another Photo of its path reads the file anew."""
    path = make_photo(seed=1)
    photo, content = Photo(path), path.read_bytes()
    assert photo.digest() == hashlib.sha256(content).hexdigest()
    assert Photo(path) == photo
    path.unlink()
    assert photo.digest() == hashlib.sha256(content).hexdigest()
    assert not any(isinstance(value, bytes) for value in gc.get_referents(photo))
    with pytest.raises(UnreadablePhoto, match="No such file"):
        Photo(path).digest()
    make_photo(seed=2)
    assert Photo(path).digest() == hashlib.sha256(path.read_bytes()).hexdigest() != photo.digest()
    assert replace(photo, data=b"x").digest() == hashlib.sha256(b"x").hexdigest()


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    picture(size=(128, 128)).save(path)
    assert Photo(path).image().size == (128, 128)
