"""Bytes of any photograph → upright 8-bit RGB pixels, and pixels → a small JPEG that carries nothing else."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from img2loc.errors import UnreadablePhoto

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".jp2",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
        ".mpo",
        ".ppm",
    ]
)
_HEIC = frozenset((".heic", ".heif", ".hif"))
# Everything that Pillow's decoders raise on damaged files.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    MemoryError,
    IndexError,
    KeyError,
    TypeError,
)

try:
    from pillow_heif import register_heif_opener
except ImportError:
    HEIC_READABLE = False
else:
    register_heif_opener()
    HEIC_READABLE = True


def upright(source: Path | bytes) -> Image.Image:
    """Decode a photograph as it was meant to be seen: turned by its EXIF orientation, RGB, 8 bits, on white.

    The image carries no EXIF, comment or profile. Raises UnreadablePhoto with the reason.
    """
    try:
        with _open(source) as image:
            image.load()
            return _rgb(_turned(image))
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(f"too large to decode safely ({error})") from error
    except _DAMAGED as error:
        raise UnreadablePhoto(f"damaged image: {str(error) or type(error).__name__}") from error


def exif_of(source: Path | bytes) -> Image.Exif:
    """The EXIF block of a photograph, without decoding its pixels. Raises UnreadablePhoto."""
    try:
        with _open(source) as image:
            return image.getexif()
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(f"too large to decode safely ({error})") from error
    except _DAMAGED as error:
        raise UnreadablePhoto(f"damaged image: {str(error) or type(error).__name__}") from error


def jpeg(image: Image.Image, side: int, quality: int = 85) -> bytes:
    """Re-encode pixels as a JPEG whose longer side is at most `side` pixels, with no metadata at all."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info = {}  # Pillow's writer would carry a JPEG comment over from here.
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _open(source: Path | bytes) -> Image.Image:
    if isinstance(source, bytes):
        if not source:
            raise UnreadablePhoto("no bytes")
        name, data = "", io.BytesIO(source)
    else:
        name = source.suffix.lower()
        try:
            data = io.BytesIO(source.read_bytes())
        except FileNotFoundError as error:
            raise UnreadablePhoto("no such file") from error
        except OSError as error:
            raise UnreadablePhoto(f"cannot be read: {error.strerror or error}") from error
        if not data.getbuffer().nbytes:
            raise UnreadablePhoto("the file is empty (0 bytes)")
    try:
        return Image.open(data)
    except UnidentifiedImageError as error:
        if name in _HEIC and not HEIC_READABLE:
            raise UnreadablePhoto("HEIC needs pillow-heif: pip install 'img2loc[heic]'") from error
        raise UnreadablePhoto("not an image, or of a format that Pillow does not know") from error


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGED:
        return image  # Broken EXIF is no reason to lose good pixels.


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
    grey = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        full = 1.0 if grey.max(initial=0) <= 1 else 255.0
    elif image.mode == "I" and grey.max(initial=0) <= 255:
        full = 255.0
    else:
        full = 65535.0
    return Image.fromarray(np.clip(grey * (255.0 / full), 0, 255).round().astype(np.uint8))
