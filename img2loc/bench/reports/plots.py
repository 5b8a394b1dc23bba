"""The figures of a report, each as a data: address that an <img> shows offline."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from img2loc.bench.reports.worldmap import great_circle, outlines
from img2loc.bench.scores.outcomes import Outcomes
from img2loc.bench.scores.score import Scores
from img2loc.core.geo import THRESHOLDS_KM, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart by colour-blind readers as well (Okabe and Ito, 2008)."""
BANDS = ("#1a9850", "#91cf60", "#d9b400", "#fc8d59", "#d73027", "#7f0000")
"""Within each threshold, and beyond the last."""
_INCHES = (6.0, 3.6)


def error_map(outcomes: Outcomes, errors: Array) -> str:
    """Every answer as the great circle from the truth to the guess, coloured by its length."""
    from matplotlib.collections import LineCollection

    figure, axes = _figure((11.0, 5.6))
    axes.add_collection(LineCollection(outlines(), colors="#9aa0a6", linewidths=0.4))
    band = np.searchsorted(THRESHOLDS_KM, errors)
    limits = [*(f"≤ {km} km" for km in THRESHOLDS_KM), "farther"]
    lat, lon = outcomes.truth.T
    for number, colour in enumerate(BANDS):
        rows = np.flatnonzero(outcomes.answered & (band == number))
        arcs = (great_circle(outcomes.truth[row], outcomes.guess[row]) for row in rows)
        lines = [piece for arc in arcs for piece in arc]
        style: Any = {"colors": colour, "linewidths": 0.6, "alpha": _alpha(len(rows))}
        axes.add_collection(LineCollection(lines, **style))
        dots: Any = {"s": 5, "color": colour, "linewidths": 0, "zorder": 3}
        axes.scatter(lon[rows], lat[rows], label=f"{limits[number]}: {len(rows):,}", **dots)
    none = np.flatnonzero(~outcomes.answered)
    crosses: Any = {"s": 5, "color": "#666666", "marker": "x", "linewidths": 0.5}
    axes.scatter(lon[none], lat[none], label=f"no answer: {len(none):,}", **crosses)
    axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower left", fontsize=7, framealpha=0.9, markerscale=2)
    return _address(figure, "png")


def error_cdf(runs: Sequence[tuple[Outcomes, Array]]) -> str:
    """Share of all photographs within a distance; the curve ends at the share that was answered."""
    figure, axes = _figure(_INCHES)
    for number, (outcomes, errors) in enumerate(runs):
        answered = np.sort(np.maximum(errors[~np.isnan(errors)], 0.01))
        share = 100 * np.arange(1, len(answered) + 1) / len(errors)
        curve = [*answered, 2e4], [*share, share[-1] if len(share) else 0]
        axes.step(*curve, where="post", color=_colour(number), label=_words(outcomes.name))
    for km in THRESHOLDS_KM:
        axes.axvline(km, color="#cccccc", linewidth=0.7, zorder=0)
    axes.set(xscale="log", xlim=(0.1, 2e4), ylim=(0, 100))
    axes.set(xlabel="error, km", ylabel="% of all photos within")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7)
    return _address(figure)


def risk_coverage(runs: Mapping[str, Scores], km: int) -> str | None:
    """Risk against coverage, surest answers first; None where no run has a radius or a spread."""
    figure, axes = _figure(_INCHES)
    for number, (name, scores) in enumerate(runs.items()):
        if curve := scores["risk_coverage"]:
            of_km = curve["thresholds"][str(km)]
            label = (
                f"{_words(name)}: area {of_km['area']:.1f} %; at most 10 % wrong for"
                f" {of_km['answered_at_risk']:.1f} % of all photos"
            )
            axes.plot(curve["coverage"], of_km["risk"], color=_colour(number), label=label)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set(xlabel="% of all photos answered", ylabel=f"% of answers over {km} km wrong")
    if not axes.lines:
        return None
    axes.legend(fontsize=7)
    return _address(figure)


def coverage(runs: Mapping[str, Scores]) -> str | None:
    """How often the truth lies within the radius, against the share that is promised.

    With binomial 95 % intervals; None where no run has a calibrated radius.
    """
    figure, axes = _figure(_INCHES)
    for number, (name, scores) in enumerate(runs.items()):
        promised = {
            100 * float(share): held
            for share, held in (scores["calibrated"] or {}).items()
            if held["n"]
        }
        if promised:
            held = np.array([one["coverage"] for one in promised.values()])
            low, high = np.array([one["interval"] for one in promised.values()]).T
            style: Any = {"fmt": "o", "capsize": 3, "markersize": 4, "color": _colour(number)}
            bars = np.maximum(np.stack((held - low, high - held)), 0.0)  # Less by rounding, at 0 %.
            axes.errorbar([*promised], held, bars, label=_words(name), **style)
    if not axes.containers:
        return None
    axes.plot((0, 100), (0, 100), color="#9aa0a6", linewidth=0.8, zorder=0)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set(xlabel="% promised", ylabel="% whose radius holds the truth")
    axes.legend(fontsize=7)
    return _address(figure)


def radii(runs: Sequence[Outcomes]) -> str | None:
    """How many answers have which radius, else which spread; None where no answer has either."""
    figure, axes = _figure(_INCHES)
    bins = np.logspace(0, np.log10(2.1e4), 40)
    for number, outcomes in enumerate(runs):
        known = outcomes.vagueness_km[~np.isnan(outcomes.vagueness_km)]
        if len(known):
            what = "spread" if np.isnan(outcomes.radius_km).all() else "radius"
            label = f"{_words(outcomes.name)}: {what}"
            style: Any = {"histtype": "step", "color": _colour(number), "label": label}
            axes.hist(np.maximum(known, 1.0), bins=bins.tolist(), **style)
    if not axes.patches:
        return None
    axes.set(xscale="log", xlabel="radius or spread, km", ylabel="answers")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=7)
    return _address(figure)


def inside_by_radius(runs: Mapping[str, Scores]) -> str | None:
    """How often the truth lies within the radius, else the spread, by tenths of the answers."""
    figure, axes = _figure(_INCHES)
    for number, (name, scores) in enumerate(runs.items()):
        if groups := scores["calibration"]["groups"]:
            middle = [max(0.1, (group["from_km"] + group["to_km"]) / 2) for group in groups]
            inside = [group["inside"] for group in groups]
            axes.plot(middle, inside, "o-", color=_colour(number), markersize=4, label=_words(name))
    axes.set(xscale="log", ylim=(0, 100))
    axes.set(xlabel="radius or spread, km (tenths of the answers)", ylabel="% that hold the truth")
    if not axes.lines:
        return None
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(lambda value, position: "")
    axes.legend(fontsize=7)
    return _address(figure)


def _figure(size: tuple[float, float]) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _address(figure: "Figure", form: str = "svg") -> str:
    from matplotlib import rc_context

    stream = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None
    # Text stays text, and the same figure is the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "img2loc"}):
        figure.savefig(stream, format=form, dpi=130, metadata=metadata)
    kind = "svg+xml" if form == "svg" else form
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _words(name: str) -> str:
    """A name for a legend, where "$" begins a formula and a first underscore hides it."""
    return f" {name}".replace("$", r"\$")


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _alpha(lines: int) -> float:
    """Thousands of lines over each other must not become one stain."""
    return float(np.clip(60 / max(lines, 1), 0.12, 0.8))
