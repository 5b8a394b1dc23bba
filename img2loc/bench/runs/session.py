"""Everything between a benchmark's name and its run folder, for one locator or for several over the same photographs."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from img2loc.bench.datasets.benchmark import Benchmark, Truth, rows_sha256, select
from img2loc.bench.datasets.leakage import SIMILARITY, Leaks
from img2loc.bench.datasets.photo_folder import PhotoFolder
from img2loc.bench.runs.costs import Estimate, estimate
from img2loc.bench.runs.predict import Tally, pending, predict
from img2loc.bench.runs.run_folder import ABOUT, Run, digest, writing
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.galleries import GalleryFacts
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.protocols import Encoder
from img2loc.gallery.gallery import Gallery

_PACKAGES = (
    "img2loc",
    "torch",
    "faiss-cpu",
    "open-clip-torch",
    "transformers",
    "timm",
    "pillow",
    "openai",
    "langchain",
)
_GALLERY_FACTS = ("rows", "dim", "spec", "source")
Progress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What is about to be asked of an LMM: so many photographs are left, for about `total`."""

    lmm: str
    endpoint: str
    photos: int
    total: Estimate
    paid: bool


@dataclass(frozen=True, slots=True)
class Session:
    """The photographs of a run and how they are asked for; several locators may run over the same."""

    benchmark: Benchmark
    truths: list[Truth]
    photo_folder: PhotoFolder
    selection: dict[str, Any]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    exclude: bool = True
    cache: Path | None = None
    retry_failed: bool = False
    max_usd: float | None = None
    _leaks: dict[Path, Leaks] = field(default_factory=dict)

    def about(self, plan: Plan, leaks: Leaks | None) -> dict[str, Any]:
        """What run.json says, but for the number of photographs."""
        path = self.benchmark.truth_file()
        truth = {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            **self.facts,
        }
        return {
            "benchmark": self.benchmark.name,
            **parts(plan),
            "truth": truth,
            "selection": self.selection,
            "leaks": {
                "exclude": self.exclude,
                "similarity": SIMILARITY,
                "ids_known": leaks is not None and leaks.ids_known,
                "authors_known": leaks is not None and leaks.authors_known,
            },
        }

    def folder(self, config: Config, locator: str) -> Path:
        """Where a run goes when nothing is said: named for what is run, so that another configuration is another folder."""
        plan = Plan(config, locator)
        about = self.about(plan, self.leaks(plan))
        names = "-".join(filter(None, (self.benchmark.name, locator, plan.names.get("lmm"))))
        return Path("runs") / f"{names}-{digest(about, factory.NOT_IN_A_REPLY)[:8]}"

    def leaks(self, plan: Plan) -> Leaks | None:
        """The rows of the locator's gallery that the photographs must not see;

        None where it searches no photographs.
        """
        if plan.gallery is None or plan.gallery.of != "photos":
            return None
        folder = plan.gallery.folder
        if (
            folder not in self._leaks
        ):  # A pass over millions of rows takes seconds, and serves every locator.
            self._leaks[folder] = Leaks(
                Gallery.open(folder),
                [(truth, self.photo_folder.path(truth)) for truth in self.truths],
            )
        return self._leaks[folder]

    def cost_estimate(self, config: Config, locator: str, folder: Path) -> CostEstimate | None:
        """What is left to be asked of an LMM for a run in that folder;

        None where nothing is. Raises RunError and its like.
        """
        photos = len(
            pending(Run.open(folder), self.retry_failed)
            if (folder / ABOUT).exists()
            else self.truths
        )
        return self._cost_estimate(Plan(config, locator), photos) if photos else None

    def _cost_estimate(self, plan: Plan, photos: int) -> CostEstimate | None:
        if plan.lmm is None or plan.lmm.endpoint is None:
            return None
        return CostEstimate(
            plan.lmm.name, plan.lmm.endpoint, photos, estimate(plan) * photos, plan.lmm.is_paid
        )

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
        """Run a locator into a folder, or go on there. `confirm` is asked before the LMM is, and raises to stop.

        `make_encoder` is called in place of loading the encoder. Raises RunError, ConfigError,
        BackendError and their like.
        """
        plan = Plan(config, locator)
        leaks = self.leaks(plan)
        each = estimate(plan)
        max_usd = self.max_usd if plan.lmm is not None and plan.lmm.is_paid else None
        if max_usd is not None and plan.lmm is not None and each.cost_usd is None:
            model = plan.lmm.table.get("model", plan.lmm.name)
            raise ConfigError(
                f"--max-cost needs the price of {model}. Put it into your configuration:"
                f" [price.{str(model)!r}] with input and output, in US dollars per million tokens."
                " Or leave --max-cost out."
            )
        with writing(folder, self.about(plan, leaks), self.truths, factory.NOT_IN_A_REPLY) as run:
            remaining = pending(run, self.retry_failed)
            if not remaining:
                tally = Tally.of(run)
                progress(tally)
                return tally
            if (expected := self._cost_estimate(plan, len(remaining))) is not None:
                confirm(expected)
            exclusions = leaks if self.exclude else None
            made = factory.locator(
                plan, cache=self.cache, exclusions=exclusions, make_encoder=make_encoder
            )
            return predict(
                run,
                made,
                self.photo_folder,
                leaks,
                exclude=self.exclude,
                retry_failed=self.retry_failed,
                max_usd=max_usd,
                usd_per_photo=each.cost_usd or 0.0,
                progress=progress,
            )


def prepare(
    benchmark: Benchmark,
    limit: str | None = None,
    shuffle: bool = False,
    seed: int = 0,
    *,
    exclude: bool = True,
    cache: Path | None = None,
    retry_failed: bool = False,
    max_usd: float | None = None,
) -> Session:
    """A session over a benchmark's photographs.

    Raises SourceError where the truth or all of the photographs are missing.
    """
    rows, left_out = benchmark.load()
    doubts = benchmark.warnings(rows)
    facts = {
        "rows": len(rows),
        "rows_sha256": rows_sha256(rows),
        "shipped": benchmark.shipped,
        "doubts": doubts,
        "left_out": len(left_out),
    }
    notes = list(doubts)
    if left_out:
        notes.append(
            f"{len(left_out):,} rows of the truth file cannot be used; the first: {left_out[0]}."
        )
    chosen = select(rows, limit, shuffle, seed)
    photo_folder = PhotoFolder(benchmark.photo_folder())
    missing = [truth for truth in chosen if photo_folder.find(truth) is None]
    if len(missing) == len(chosen):
        like = f"None of the {len(chosen):,} photos (such as {chosen[0].photo}) is in {photo_folder.folder}."
        raise SourceError("\n".join([like, *benchmark.steps()]))
    if missing:
        notes.append(
            f"{len(missing):,} of {len(chosen):,} photos are not in {photo_folder.folder}; they count as"
            f" unanswered. See: img2loc data verify {benchmark.name}"
        )
    selection = {"limit": limit, "shuffle": shuffle, "seed": seed if shuffle else None}
    return Session(
        benchmark,
        chosen,
        photo_folder,
        selection,
        facts,
        notes,
        exclude,
        cache,
        retry_failed,
        max_usd,
    )


def parts(plan: Plan) -> dict[str, Any]:
    """What a locator is made of, as run.json says it: names, tables, prompts and versions."""
    gallery = plan.gallery
    tables: dict[str, Any] = {"locator": plan.table}
    if plan.lmm is not None:
        tables["lmm"] = {**plan.lmm.table, "endpoint": plan.lmm.endpoint}
    if gallery is not None:
        tables["gallery"] = _facts(gallery)
    if len(plan.galleries) > 1:
        tables["galleries"] = {
            key: {"name": one.name, **_facts(one)} for key, one in plan.galleries.items()
        }
    for key, name in plan.encoders.items():
        if plan.config.has("encoder", name):
            tables[key] = plan.config.table("encoder", name)
    if gallery is not None:
        tables.setdefault("encoder", dict(gallery.manifest["encoder"]["table"]))
    return {
        "locator": plan.locator,
        "lmm": plan.names.get("lmm"),
        "gallery": gallery.name if gallery else None,
        "encoder": gallery.encoder_name if gallery else None,
        "gallery_rows": gallery.rows if gallery else 0,
        "config": tables,
        "prompts": {prompt.name: prompt.text for prompt in plan.prompts.values()},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of what decides a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _facts(gallery: GalleryFacts) -> dict[str, Any]:
    return {**{fact: gallery.manifest.get(fact) for fact in _GALLERY_FACTS}, "of": gallery.of}
