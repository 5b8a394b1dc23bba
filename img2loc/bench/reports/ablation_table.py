"""An ablation's scores → Markdown: its rows, its pairs, and which differences hold."""

from collections.abc import Iterator, Sequence
from typing import Any

from img2loc.bench.reports.tables import over
from img2loc.core.geo import THRESHOLDS_KM

ALPHA = 0.05
_THRESHOLDS = [str(km) for km in THRESHOLDS_KM]
_COPIES = {"first": "1st", "nearest": "nearest", "farthest": "farthest", "by_chance": "by chance"}


def ablation_table(table: dict[str, Any]) -> str:
    """The tables of `scores.ablation`, and what they say."""
    return "\n".join(_lines(table))


def _lines(table: dict[str, Any]) -> Iterator[str]:
    rows, pairs, drawn = table["rows"], table["pairs"], table["intervals"]
    copied = any(row["copies"] for row in rows)
    titles = ["row", "runs", "n", "answered", *(f"{km} km" for km in _THRESHOLDS)]
    yield _line([*titles, *(f"copies {title}" for title in _COPIES.values() if copied)])
    yield "|---" * (len(titles) + copied * len(_COPIES)) + "|"
    for row in rows:
        cells = [row["name"], str(row["runs"]), f"{row['n']:,}", _percent(row["answered_share"])]
        cells += [_accuracy(row["thresholds"][km]) for km in _THRESHOLDS]
        if copied:
            cells += [_percent((row["copies"] or {}).get(key)) for key in _COPIES]
        yield _line(cells)
    yield ""
    yield (
        f"Per cent of the n photos within each distance, [95 % bootstrap interval]"
        f" {over(drawn, drawn['over'])}."
    )
    if any(row["runs"] > 1 for row in rows):
        yield "±: standard deviation over the runs of a row, which differ by sampling alone."
    if copied:
        yield (
            "Copies: per cent of answers within 20 m of the 1st, any of the nearest, any of the"
            " farthest neighbours that the prompt showed; by chance: of the row none's answers."
        )
    if any(row["not_run"] for row in rows):
        yield "Some photos were not run: a pair is compared over those that both its rows have."
    if not pairs:
        return
    yield ""
    yield _line(["pair", "n", *(f"{km} km" for km in _THRESHOLDS)])
    yield "|---" * (2 + len(_THRESHOLDS)) + "|"
    for pair in pairs:
        cells = [_difference(pair["thresholds"][km]) for km in _THRESHOLDS]
        yield _line([_name(pair), f"{pair['n']:,}", *cells])
    yield ""
    yield (
        "Second less first, [paired 95 % interval], p: McNemar's, which takes photos for"
        f" independent / by {drawn['over']} / the latter with Holm's correction for all"
        f" {table['tests']} tests."
    )
    yield ""
    yield from _findings(pairs)


def _findings(pairs: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = [
        f"- {_name(pair)}: {cell['difference']:+.2f} points within {km} km (p {_p(cell['p_holm'])})"
        for pair in pairs
        for km, cell in pair["thresholds"].items()
        if cell["p_holm"] <= ALPHA
    ]
    if not found:
        yield f"No difference holds at {ALPHA:g} after the correction."
        return
    yield f"Differences that hold at {ALPHA:g} after the correction:"
    yield from found


def _accuracy(cell: dict[str, Any]) -> str:
    if cell["accuracy"] is None:
        return "–"
    deviation = "" if cell["sd"] is None else f" ±{cell['sd']:.2f}"
    return f"{cell['accuracy']:.2f}{deviation}{_interval(cell['interval'], '.1f')}"


def _difference(cell: dict[str, Any]) -> str:
    if cell["difference"] is None:
        return "–"
    p = " / ".join(_p(cell[key]) for key in ("p", "p_clusters", "p_holm"))
    return f"{cell['difference']:+.2f}{_interval(cell['interval'], '+.2f')}, p {p}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _interval(interval: Sequence[float] | None, form: str) -> str:
    return f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""


def _name(pair: dict[str, Any]) -> str:
    return f"{pair['first']} → {pair['second']}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
