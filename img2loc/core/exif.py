"""A photograph's EXIF: the GPS position in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.images import opened


def exif_of(source: Path | bytes) -> Image.Exif:
    """The EXIF block of a photograph, without decoding its pixels. Raises UnreadablePhoto."""
    with opened(source) as image:
        return image.getexif()


def gps_of(source: Path | bytes) -> tuple[float, float] | str:
    """Latitude and longitude in degrees, not checked, or the reason why there are none."""
    try:
        gps: dict[int, Any] = exif_of(source).get_ifd(IFD.GPSInfo)
        if GPS.GPSLatitude not in gps or GPS.GPSLongitude not in gps:
            return "no GPS position in its EXIF"
        lat = _degrees(gps[GPS.GPSLatitude], gps.get(GPS.GPSLatitudeRef, "N"))
        return lat, _degrees(gps[GPS.GPSLongitude], gps.get(GPS.GPSLongitudeRef, "E"))
    except UnreadablePhoto as error:
        return str(error)
    except (TypeError, ValueError, ZeroDivisionError, IndexError, KeyError, SyntaxError, OSError):
        return "its GPS position is damaged"


def _degrees(parts: Sequence[Any], hemisphere: Any) -> float:
    """Degrees, minutes and seconds as one number; south and west are negative."""
    degrees = sum(float(part) / 60.0**place for place, part in enumerate(parts[:3]))
    letter = hemisphere.decode() if isinstance(hemisphere, bytes) else str(hemisphere)
    return -degrees if letter.strip("\0 ").upper() in ("S", "W") else degrees
