"""A reply's text → the Location that it settles on, or None: never a made-up coordinate."""

import re
from collections.abc import Iterator
from itertools import zip_longest

from img2loc.core.types import Location
from img2loc.lmm.parse.normalize import normalize
from img2loc.lmm.parse.notations.angle_pair import angle_pairs
from img2loc.lmm.parse.notations.candidate import Candidate
from img2loc.lmm.parse.notations.json_object import json_objects
from img2loc.lmm.parse.notations.map_link import map_links

NOTATIONS = (map_links, json_objects, angle_pairs)
"""In this order: what one notation reads is blank for those after it."""

_SENTENCE_END = re.compile(r"(?<!\s\d)[.!?;](?=\s)|(?<![:\n])\n")
_SAME_LIST = re.compile(r"[ )\](\[,;]*(?:\n|and)?[ (\[]*")
_ALTERNATIVE = re.compile(
    r"[\s)\](\[.,;]*\b(?:or|oder|ou|o)\b(?!,?\s+(?:rather|more|most|better|exact|to be))"
    r"[^.!?;:]{0,80}",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"[\s)\]}.,;]*")
_CLOSES = 100
"""More than all words before can add up to."""
_DENIED = re.compile(
    r"(?:(?i:\b(?:not|never|unlike|rather than|instead of|excluding|rul(?:e|es|ed|ing) out"
    r"|cannot)\b)|n't\b)"
    r"(?:\s+(?:be|look like|match|in|at|near|around|from|the|a|really|actually|necessarily"
    r"|coordinates|of|city|town|to)\b)*"
    r"(?:\s+[A-Z][\w'-]*,?){0,5}\s*[(\[\"']*$"  # a place's name
)
_FINAL = re.compile(
    r"\b(?:final\w*|answer|conclu\w+|settle\w*|therefore|i choose|i'll go with)\b", re.IGNORECASE
)
_LIKELY = re.compile(
    r"\b(?:best guess|guess|estimate[ds]?|most likely|i would say|i'd say|predict\w+"
    r"|coordinates?)\b|\b(?<!less )(?<!un)likely\b",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\b(?:alternativ\w*|other possib\w*|could also|also possible|or possibly|second\w*|third"
    r"|[2-9](?:nd|rd|th)|another|similar (?:to|image|photo|location|place)s?|dissimilar"
    r"|references?|compare[ds]?|resembles?|at first|initial\w*|considered|for example|such as"
    r"|e\.g|neighbou?rs?|replica|less likely|unlikely|farthest|(?:far|km) from)\b"
    r"|\b(?:than|over|from)\b[^.:\n]{0,25}$"
    r"|^\W*(?:(?:guess|option|candidate|rank|choice)\s*#?)?[2-9][.):]\s",
    re.IGNORECASE,
)
_REJECTED_AFTER = re.compile(
    r"^[)\]\s]*(?:(?:is|was|seems|looks)\s+(?:not|unlikely|less|too|wrong|rejected|considered"
    r"|excluded|ruled out)\b"
    r"|\(?(?:less likely|unlikely|similar|dissimilar|reference)\b|\?)|\b(?:do|does)n't match\b",
    re.IGNORECASE,
)
_CHOSEN_AFTER = re.compile(
    r"\b(?:final answer|most likely|best guess|is my (?:answer|guess))\b", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:sorry(?!-)|apologi[sz]e|can(?:no|')t|can not|could not|couldn't|unable|not able"
    r"|won't|will not|impossible|decline|refuse|not (?:comfortable|possible|determinable)"
    r"|(?:do not|don't) (?:know|have)|rather not|(?:not|n't) enough|insufficient|no puedo"
    r"|lo siento|tut mir leid|kann \w+ \w+ nicht)\b"
    r"|désolé|对不起|抱歉|无法|申し訳|できません|не могу",
    re.IGNORECASE,
)


def parse_location(text: str) -> Location | None:
    """The coordinates that an LMM's reply settles on, or None where it gives no point on Earth.

    Reads JSON, labeled lines, decimal degrees, degrees-minutes-seconds, map links and coordinates
    in prose. Where a reply names several, a JSON object that closes it is its answer. Else those
    that it denies are dropped, those that it calls its answer are preferred, the first of a list
    and of "A or B" too, and the last one wins.
    """
    text = normalize(text)
    candidates = sorted(_candidates(text), key=lambda candidate: candidate.start)
    best: tuple[int, Location | None] = (-1_000, None)
    merit: int | None = None
    since = 0
    after_object = False
    for candidate, following in zip_longest(candidates, candidates[1:]):
        until = following.start if following else len(text)
        gap = text[since : candidate.start]
        in_list = since > 0 and _SAME_LIST.fullmatch(gap) is not None
        if in_list and _closes(text, candidate):
            in_list = after_object and "," in gap  # [{…}, {…}], and not "…: {…}"
        if in_list and merit is not None:
            merit -= 1  # A list's entries share what is said of it, and its first is its best.
        else:
            merit = _merit(text, candidate, since, until)
        if merit is not None and merit >= best[0]:
            best = merit, candidate.location
        since, after_object = candidate.end, candidate.is_object
    return best[1]


def refuses(text: str) -> bool:
    """Whether a reply without coordinates reads as a refusal."""
    return _REFUSAL.search(normalize(text)) is not None


def _candidates(text: str) -> Iterator[Candidate]:
    for notation in NOTATIONS:
        rest, position = [], 0
        for candidate in notation(text):
            if candidate.location:
                yield candidate
            rest += [text[position : candidate.start], " " * (candidate.end - candidate.start)]
            position = candidate.end
        text = "".join(rest) + text[position:]


def _closes(text: str, candidate: Candidate) -> bool:
    """Whether it is a JSON object at the end of the reply."""
    return candidate.is_object and _CLOSING.fullmatch(text, candidate.end) is not None


def _merit(text: str, candidate: Candidate, since: int, until: int) -> int | None:
    """How much the words around a candidate speak for it; None when they deny it."""
    before = text[max(since, candidate.start - 300) : candidate.start]
    clause = before[max((end.end() for end in _SENTENCE_END.finditer(before)), default=0) :]
    if _DENIED.search(clause):
        return None
    after = text[candidate.end : min(until, candidate.end + 200)]
    if end := _SENTENCE_END.search(after):
        after = after[: end.end()]
    line_before = before.rpartition("\n")[2]
    line_after = text[candidate.end : candidate.end + 300].partition("\n")[0]
    alone = not line_before.strip(" ([{") and not line_after.strip(" )]}.,;")
    return (
        candidate.merit
        + _CLOSES * _closes(text, candidate)
        + 10 * bool(_FINAL.search(clause))
        + 4 * bool(_LIKELY.search(clause))
        + 5 * bool(_CHOSEN_AFTER.search(after))
        + 3 * alone
        - 6 * bool(_OTHER.search(clause))
        - 8 * bool(_REJECTED_AFTER.search(after))
        - 3 * bool(since and _ALTERNATIVE.fullmatch(text, since, candidate.start))
    )
