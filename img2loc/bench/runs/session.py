"""A benchmark and a locator's name → a run folder; one session serves several locators."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from img2loc.bench.datasets.benchmark import Benchmark, Truth, rows_sha256, select
from img2loc.bench.datasets.leakage import COPY
from img2loc.bench.datasets.photo_folder import PhotoFolder
from img2loc.bench.runs.costs import Estimate, estimate
from img2loc.bench.runs.leak_control import LeakControl
from img2loc.bench.runs.predict import Budget, Tally, pending, predict
from img2loc.bench.runs.reproduction import reproduction
from img2loc.bench.runs.run_folder import ABOUT, Run, digest, writing
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.doctor import versions
from img2loc.config.parts import CACHE_IRRELEVANT_KEYS, calibration, parts
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.protocols import Encoder

Progress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """How many photographs are about to be sent to an LMM, and what about that costs in all."""

    lmm: str
    endpoint: str
    photos: int
    total: Estimate
    paid: bool
    shows: int = 0
    """Photographs of the gallery that go with each, at most."""

    def __add__(self, other: Self) -> Self:
        """Both together."""
        return replace(self, photos=self.photos + other.photos, total=self.total + other.total)


@dataclass(frozen=True, slots=True)
class Session:
    """The photographs of a benchmark that are located, and how."""

    benchmark: Benchmark
    truths: list[Truth]
    photo_folder: PhotoFolder
    selection: dict[str, Any]
    facts: dict[str, Any]
    leak_control: LeakControl
    notes: list[str] = field(default_factory=list)
    cache: Path | None = None
    retry_failed: bool = False
    max_usd: float | None = None
    repeat: int = 0
    """Which repetition of one run, from 0: its replies are its own."""

    def about(self, plan: Plan) -> dict[str, Any]:
        """What run.json says, but for the number of photographs."""
        path = self.benchmark.truth_file()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "benchmark": self.benchmark.name,
            **({"repeat": self.repeat} if self.repeat else {}),
            **parts(plan),
            "versions": versions(),
            **({"calibration": known.record()} if (known := calibration(plan)) else {}),
            **({"reproduction": found} if (found := self.reproduction(plan)) else {}),
            "truth": {"file": path.name, "sha256": digest, **self.facts},
            "selection": self.selection,
            "leaks": self.leak_control.about(plan.gallery),
        }

    def reproduction(self, plan: Plan) -> dict[str, Any]:
        """The paper that a run reproduces, and its deviations; empty where it is of no paper."""
        options = {
            "leaks.exclude": (True, self.leak_control.exclude),
            "leaks.near_duplicate": (COPY, self.leak_control.near_duplicate),
            "selection.limit": (None, self.selection["limit"]),
        }
        return reproduction(plan, options)

    def folder(self, config: Config, locator: str) -> Path:
        """The default folder of a run, named for what is run and for its configuration."""
        plan = benchmark_plan(config, locator)
        about = self.about(plan)
        repeat = f"repeat-{self.repeat + 1}" if self.repeat else None
        names = (self.benchmark.name, locator, plan.names.get("lmm"), repeat)
        stem = "-".join(filter(None, names))
        return Path("runs") / f"{stem}-{digest(about, CACHE_IRRELEVANT_KEYS)[:8]}"

    def cost_estimate(self, config: Config, locator: str, folder: Path) -> CostEstimate | None:
        """What the rest of a run in that folder costs; None where no LMM is to be asked.

        Raises RunError and ConfigError.
        """
        begun = (folder / ABOUT).exists()
        photos = len(pending(Run.open(folder), self.retry_failed) if begun else self.truths)
        return self._cost_estimate(benchmark_plan(config, locator), photos) if photos else None

    def _cost_estimate(self, plan: Plan, photos: int) -> CostEstimate | None:
        away = [lmm for lmm in plan.lmms if lmm.endpoint is not None]
        if not away:
            return None
        names = ", ".join(lmm.name for lmm in away)
        places = ", ".join(dict.fromkeys(str(lmm.endpoint) for lmm in away))
        paid = any(lmm.is_paid for lmm in away)
        return CostEstimate(names, places, photos, estimate(plan) * photos, paid, plan.shows)

    def run(
        self,
        config: Config,
        locator: str,
        folder: Path,
        *,
        confirm: Callable[[CostEstimate], None] = lambda expected: None,
        progress: Progress = lambda tally: None,
        make_encoder: Callable[[], Encoder] | None = None,
    ) -> Tally:
        """Run a locator into a folder, or resume there.

        `confirm` is called before the LMM is asked, and raises to stop. `make_encoder` is called in
        place of loading the encoder. Raises RunError, ConfigError and BackendError.
        """
        plan = benchmark_plan(config, locator)
        each = estimate(plan)
        paid = [lmm for lmm in plan.lmms if lmm.is_paid]
        max_usd = self.max_usd if paid else None
        if max_usd is not None and each.cost_usd is None:
            unpriced = next((lmm for lmm in paid if not lmm.price), paid[0])
            model = unpriced.table.get("model", unpriced.name)
            raise ConfigError(
                f"--max-cost needs the price of {model}. Put it into your configuration:"
                f" [price.{str(model)!r}] with input and output, in US dollars per million tokens."
                " Or leave --max-cost out."
            )
        irrelevant = CACHE_IRRELEVANT_KEYS
        with writing(folder, self.about(plan), self.truths, irrelevant) as run:
            remaining = pending(run, self.retry_failed)
            if not remaining:
                tally = Tally.of(run)
                progress(tally)
                return tally
            if (expected := self._cost_estimate(plan, len(remaining))) is not None:
                confirm(expected)
            leaks, exclude = self.leak_control.leaks(plan.gallery), self.leak_control.exclude
            exclusions = leaks if exclude else None
            return predict(
                run,
                factory.bare_locator(
                    plan,
                    cache=self.cache,
                    repeat=self.repeat,
                    exclusions=exclusions,
                    make_encoder=make_encoder,
                ),
                self.photo_folder,
                leaks,
                exclude=exclude,
                retry_failed=self.retry_failed,
                budget=Budget(max_usd, each.cost_usd or 0.0),
                progress=progress,
            )


def benchmark_plan(config: Config, locator: str) -> Plan:
    """The plan of a locator in a benchmark, where a reply without a place is asked for once more.

    A table with `repair = 0` keeps it.
    """
    plan = Plan(config, locator)
    if "repair" not in plan.takes or "repair" in plan.table:
        return plan
    config.override("locator", locator, {"repair": 1}, "bench")
    return Plan(config, locator)


def prepare(
    benchmark: Benchmark,
    limit: str | None = None,
    shuffle: bool = False,
    seed: int = 0,
    *,
    exclude: bool = True,
    near_duplicate: float = COPY,
    cache: Path | None = None,
    retry_failed: bool = False,
    max_usd: float | None = None,
) -> Session:
    """A session over a benchmark's photographs; `exclude` and so on are those of `LeakControl`.

    Raises SourceError where the truth or all of the photographs are missing.
    """
    rows, skipped = benchmark.load()
    warnings = benchmark.warnings(rows)
    facts = {
        "rows": len(rows),
        "rows_sha256": rows_sha256(rows),
        "shipped": benchmark.shipped,
        "doubts": warnings,
        "left_out": len(skipped),
    }
    notes = list(warnings)
    if skipped:
        notes.append(
            f"{len(skipped):,} rows of the truth file cannot be used; the first: {skipped[0]}."
        )
    chosen = select(rows, limit, shuffle, seed)
    folder = PhotoFolder(benchmark.photo_folder())
    missing = sum(folder.find(truth) is None for truth in chosen)
    if missing == len(chosen):
        problem = (
            f"None of the {missing:,} photos (such as {chosen[0].photo}) is in {folder.folder}."
        )
        raise SourceError("\n".join([problem, *benchmark.steps()]))
    if missing:
        notes.append(
            f"{missing:,} of {len(chosen):,} photos are not in {folder.folder}; they count as"
            f" unanswered. See: img2loc data verify {benchmark.name}"
        )
    selection = {"limit": limit, "shuffle": shuffle, "seed": seed if shuffle else None}
    return Session(
        benchmark,
        chosen,
        folder,
        selection,
        facts,
        LeakControl([(truth, folder.path(truth)) for truth in chosen], exclude, near_duplicate),
        notes,
        cache,
        retry_failed,
        max_usd,
    )
