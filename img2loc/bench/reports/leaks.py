"""What a run's scores say of leaks → sentences, the same in tables and reports."""

from img2loc.bench.scores.score import Scores

NOT_COMPARED = "Neither ids nor photographers could be compared with the gallery's."


def without_photos(leaks: Scores) -> str:
    """What is known of leaks from a gallery that holds no photographs; "" where it holds some."""
    searched, inside = leaks["searched"], leaks["truth_coordinates"]
    if searched in ("photos", None):
        return ""
    if searched == "nothing":
        return "none to look for; no gallery was searched"
    if inside is None:
        return f"not known whether the gallery of {searched} has rows where photos were taken"
    if not inside["n"]:
        return f"no photo was taken within 1 m of a row of the gallery, which holds {searched}"
    return (
        f"{inside['n']:,} photos ({inside['share']:.1f} %) were taken within 1 m of a row of the"
        f" gallery, which holds {searched}: it was given their answer"
    )


def not_excluded(leaks: Scores) -> bool:
    """Whether a run let photographs see rows of their own id and photographer."""
    return (leaks["settings"] or {}).get("exclude") is False


def not_compared(leaks: Scores) -> bool:
    """Whether a run could keep out neither rows of the photo's own id nor of its photographer."""
    settings = leaks["settings"] or {}
    known = [settings.get(f"{what}_known") for what in ("ids", "authors")]
    return leaks["searched"] == "photos" and known == [False, False] and not not_excluded(leaks)
