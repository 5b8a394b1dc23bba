"""Any photograph → upright 8-bit RGB pixels; pixels → a small JPEG without metadata."""

import io
import math
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from img2loc.core.errors import UnreadablePhoto

_HEIC = frozenset((".heic", ".heif", ".hif"))
SUFFIXES = _HEIC | {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".png", ".webp", ".avif"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ppm"),
}
_FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIF"),
    *("PPM", "TGA", "ICO"),
)
_LARGE_PIXELS, _MOST_PIXELS = 24_000_000, 80_000_000
_MOST_BYTES = 500_000_000
_LONGEST_STRIP = 16
_one_large = threading.Lock()
_DAMAGED = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, IndexError, KeyError, MemoryError),
    struct.error,
)
"""What Pillow's decoders raise on damaged files."""

try:
    from pillow_heif import register_heif_opener
except ImportError:
    HEIC_READABLE = False
else:
    register_heif_opener()
    HEIC_READABLE = True


def upright(
    source: Path | bytes, side: int | None = None, shorter: int | None = None
) -> Image.Image:
    """Decode a photograph: turned by its EXIF orientation, RGB, 8 bits, on white, no metadata.

    Of a strip longer than 16 times its width the middle is kept. Memory is bounded: large
    photographs are decoded one at a time, very large JPEGs at a fraction of their size, and others
    refused. With `side`, a JPEG is decoded no larger than its longer side needs to be, and with
    `shorter`, its shorter side. Raises UnreadablePhoto with the reason.
    """
    with opened(source) as image:
        scalable = image.format in ("JPEG", "MPO")
        wanted = ((side, max), (shorter, min))
        scale = max((pixels / of(image.size) for pixels, of in wanted if pixels), default=1.0)
        if scale < 1 and scalable:
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        if image.width * image.height > _LARGE_PIXELS and scalable:
            image.draft("RGB", (image.width // 2, image.height // 2))
        pixels = image.width * image.height
        if pixels > _MOST_PIXELS:
            raise UnreadablePhoto(
                f"too large to decode safely ({pixels / 1e6:.0f} million pixels, at most"
                f" {_MOST_PIXELS / 1e6:.0f})"
            )
        with _one_large if pixels > _LARGE_PIXELS else nullcontext():
            image.load()
            return _rgb(_turned(_middle(image)))


@contextmanager
def opened(source: Path | bytes) -> Iterator[Image.Image]:
    """A photograph whose pixels are not decoded yet.

    Raises UnreadablePhoto, also for what the block raises on a damaged one.
    """
    try:
        with _open(source) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(f"too large to decode safely ({error})") from error
    except _DAMAGED as error:
        raise UnreadablePhoto(f"damaged image: {str(error) or type(error).__name__}") from error


def jpeg(image: Image.Image, side: int, quality: int = 85) -> bytes:
    """Re-encode pixels as a JPEG without metadata, its longer side at most `side` pixels."""
    small = image.copy() if max(image.size) > side or image.info else image
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info = {}  # Pillow's writer would carry a JPEG comment over from here.
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def tiny_jpeg() -> bytes:
    """A JPEG of sky over land, 64 pixels wide: enough to try a model with."""
    picture = Image.new("RGB", (64, 48), (140, 190, 235))
    picture.paste((90, 130, 60), (0, 28, 64, 48))
    return jpeg(picture, 64)


def _open(source: Path | bytes) -> Image.Image:
    name = ""
    data: Path | io.BytesIO
    if isinstance(source, bytes):
        if not source:
            raise UnreadablePhoto("no bytes")
        data = io.BytesIO(source)
    else:
        name, data = source.suffix.lower(), source
        try:
            facts = source.stat()
        except FileNotFoundError as error:
            raise UnreadablePhoto("no such file") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UnreadablePhoto(str(reason)) from error
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadablePhoto("not a regular file")
        if not facts.st_size:
            raise UnreadablePhoto("the file is empty (0 bytes)")
        if facts.st_size > _MOST_BYTES:
            raise UnreadablePhoto(
                f"too large to decode safely ({facts.st_size / 1e6:.0f} MB, at most"
                f" {_MOST_BYTES / 1e6:.0f})"
            )
    Image.preinit()  # JPEG, PNG and a few more; the other formats are loaded for what is none.
    try:
        with suppress(UnidentifiedImageError):
            return Image.open(data, formats=_formats())
        Image.init()
        return Image.open(data, formats=_formats())
    except UnidentifiedImageError as error:
        if name in _HEIC and not HEIC_READABLE:
            raise UnreadablePhoto("HEIC needs pillow-heif: pip install 'img2loc[heic]'") from error
        raise UnreadablePhoto("not an image, or in a format that is not supported") from error
    except OSError as error:
        raise UnreadablePhoto(error.strerror or str(error)) from error


def _formats() -> list[str]:
    """The formats of photographs that are loaded; not PostScript, which runs a program."""
    return [name for name in _FORMATS if name in Image.OPEN]


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a very long strip: what a centre crop keeps."""
    longest = _LONGEST_STRIP * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = max(0, (image.width - longest) // 2), max(0, (image.height - longest) // 2)
    exif = image.getexif()
    right, bottom = left + min(image.width, longest), top + min(image.height, longest)
    cropped = image.crop((left, top, right, bottom))
    cropped.info = {**image.info, "exif": exif.tobytes()}
    return cropped


def _turned(image: Image.Image) -> Image.Image:
    with suppress(*_DAMAGED):  # Broken EXIF is no reason to lose good pixels.
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        image = Image.new("RGB", with_alpha.size, "white")
        image.paste(with_alpha, mask=with_alpha.getchannel("A"))
    converted = image.convert("RGB")
    converted.info = {}
    return converted


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float greys; Pillow's own conversion clips them to white."""
    grey = np.asarray(image)
    peak = float(np.nan_to_num(grey.max(initial=0)))
    if image.mode == "F":
        full = 1.0 if peak <= 1 else 255.0 if peak <= 255 else 65535.0
    else:
        full = 255.0 if image.mode == "I" and peak <= 255 else 65535.0
    small = np.empty(grey.shape, dtype=np.uint8)
    for top in range(0, len(grey), 256):  # In strips: at once would take eight times the memory.
        strip = np.nan_to_num(grey[top : top + 256].astype(np.float32)) * (255.0 / full)
        small[top : top + 256] = np.clip(strip, 0, 255).round()
    return Image.fromarray(small)
