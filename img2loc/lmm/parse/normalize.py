"""An LMM's reply → plain text with one spelling of signs, quotes, degrees, digits and spaces."""

import html
import re
import unicodedata

_LIMIT = 40_000
"""Characters: longer replies keep their beginning and their end, where answers stand."""

_CHARACTERS = str.maketrans(
    {
        # minus signs, kept apart from hyphens until they are joined to their number
        **dict.fromkeys("\ufe63\uff0d", "\u2212"),
        **dict.fromkeys("\u2010\u2011\u2013", "-"),
        **dict.fromkeys("\u2014\u2015", ":"),  # a long dash introduces, it does not negate
        **dict.fromkeys("º˚ᵒ度도", "°"),
        **dict.fromkeys("′’‘ʹ´ʼ分", "'"),
        **dict.fromkeys("″“”ʺ„秒", '"'),
        **dict.fromkeys("、،", ","),
        **dict.fromkeys("。٫", "."),
        **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u3000\t", " "),
        **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", ""),
        **dict.fromkeys("*`", " "),
    }
)
_ENTITY = re.compile(r"&(?:deg|nbsp|amp|quot|apos|lt|gt|#\d{1,5}|#x[0-9a-f]{1,4});", re.IGNORECASE)
_ANGLE = r"[+-]?\d{1,3}(?:\.\d+)?\s*°?\s*[NSEW]?"
_REWRITES = [
    (re.compile(pattern, flags), replacement)
    for pattern, flags, replacement in (
        # A reasoning model's thoughts are not its answer.
        (r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE, " "),
        (r"<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE, " "),
        # LaTeX
        (r"\$\$", 0, "$"),
        (r"\^?\{?\\(?:circ|degree|textdegree)(?![a-z])\s?\}?", 0, "°"),
        (r"\\(?:text|mathrm|mathbf|operatorname|boxed)\s*\{([^{}]{0,80})\}", 0, r"\1"),
        (r"\^?\{?(?:\\prime){2}\s?\}?", 0, '"'),
        (r"\^?\{?\\prime\s?\}?", 0, "'"),
        (r"\\(?:boxed|text|mathrm)\s*\{", 0, " "),
        (r"\$(?=\S)([^$\n]{1,80}?)(?<=[^\s,])\$(?!\d)", 0, r" \1 "),
        # Tags: those that name an axis become its label, others vanish; <48.85> is a number in the
        # prompt's own form.
        (r"<(lat|lon|lng)[a-z]*>(?=[^<>]{1,30}</)", re.IGNORECASE, r" \1: "),
        (r"</?[a-z][^<>\n:]{0,60}>", re.IGNORECASE, " "),
        (r"<\s*([+\u2212-]?\d{1,3}(?:\.\d+)?)\s*>", 0, r" \1 "),
        # Signs
        ("\u2212 ?(?=\\.?\\d)", 0, "-"),
        ("\u2212", 0, "-"),
        (r"\b(?:minus|negative) (?=\d)", re.IGNORECASE, "-"),
        (r"(?m)^ *- +(\d[\d.]*) *, *- +(?=\d)", 0, r"-\1, -"),
        (r"(?<=[:=(]) *- +(?=\d)", 0, " -"),
        (r"(?<=° [NSEW])-(?=\d)|(?<=°[NSEW])-(?=\d)", 0, " "),
        # What looks like a coordinate: errors, datums, ranges
        (r"\(?(?:±|\+/-|\+-) ?\d+(?:\.\d+)? ?(?:°|degrees?\b|km\b|m\b)? ?\)?", re.IGNORECASE, " "),
        (r"\b(?:WGS ?-?84|EPSG:? ?4326)\b", re.IGNORECASE, ""),
        (rf"\b(?:between|from) +{_ANGLE} +(?:and|to) +{_ANGLE}(?![\d.])", re.IGNORECASE, " "),
        (
            rf"(?<![\d.]){_ANGLE} *(?:\b(?:to|through)\b|\.\.+) *{_ANGLE}(?![\d.])",
            re.IGNORECASE,
            " ",
        ),
        ("''", 0, '"'),
    )
]


def normalize(text: str) -> str:
    """One spelling for what can be written in many; markup, thoughts and ranges are removed."""
    if len(text) > _LIMIT:
        text = f"{text[: _LIMIT // 2]}\n{text[-_LIMIT // 2 :]}"
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text.replace("\\u00b0", "°"))
    text = text.translate(_CHARACTERS)
    if not text.isascii():
        text = "".join(map(_plain, text))
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if "\uff01" <= character <= "\uff5e":  # full-width forms
        return unicodedata.normalize("NFKC", character)
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)
