"""Several prompts, several candidates, one answer: the ensemble of G3 (Jia et al., NeurIPS 2024) over Img2Loc's prompts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from img2loc.core.errors import ConfigError, PromptError
from img2loc.core.geo import Array, degrees, densest, spread_km
from img2loc.core.protocols import LMM, Encoder, Verifier
from img2loc.core.types import (
    Guess,
    Location,
    Neighbours,
    PhotoLike,
    Prompt,
    Rejected,
    Reply,
    as_photos,
)
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.retriever import Exclusions, Retriever
from img2loc.lmm.prompts import Template
from img2loc.locators.lmm_stream import Question, Stream, ask, location_in, outcome
from img2loc.locators.radius import FEWEST, FINEST_KM, SHARE, weights


class Ensemble:
    """Asks `samples` times for each number of neighbours in `counts` (0 is zero-shot), and chooses among the candidates.

    Candidates are the replies and the `retrieved` nearest coordinates. `choose` is "agreement" (the
    candidate in the densest place; each reply counts 1, the retrieved ones 1 together, shared by
    similarity) or "verify" (the candidate whose point vector is most similar to the photograph's
    vector under `verifier`, a model with an image tower and a point tower such as GeoCLIP). The
    radius holds 68 % of the weight of three candidates or more. Raises ConfigError or PromptError
    for what does not fit.
    """

    def __init__(
        self,
        encoder: Encoder,
        gallery: Gallery,
        prompt: Template,
        zeroshot_prompt: Template,
        lmm: LMM,
        verifier: Verifier | None = None,
        counts: Sequence[int] = (0, 5, 10, 15),
        samples: int = 1,
        retrieved: int = 5,
        choose: Literal["agreement", "verify"] = "agreement",
        bandwidth_km: float = 25.0,
        exclusions: Exclusions | None = None,
    ) -> None:
        if not counts or min(counts) < 0 or samples < 1 or retrieved < 0 or bandwidth_km <= 0:
            raise ConfigError(
                f"counts {list(counts)}, samples {samples}, retrieved {retrieved}, bandwidth_km"
                f" {bandwidth_km}: counts and retrieved must be 0 or more, samples and bandwidth_km"
                " above 0."
            )
        if choose == "verify" and verifier is None:
            raise ConfigError(
                'choose = "verify" needs a verifier: name an encoder that has a point tower, such'
                " as geoclip."
            )
        zeroshot_prompt.require([])
        if max(counts) and "nearest" not in prompt.ends:
            raise PromptError(
                f"The prompt {prompt.name!r} shows no nearest neighbours. Choose another, or set"
                " counts = [0]."
            )
        self._retriever = Retriever(encoder, gallery, exclusions)
        self._prompt, self._zeroshot_prompt = prompt, zeroshot_prompt
        self._lmm, self._verifier = lmm, verifier
        self._counts, self._samples, self._retrieved = tuple(counts), samples, retrieved
        self._choose, self._bandwidth_km = choose, bandwidth_km

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return ask(self._lmm, self._asked(photos), self._decide)

    def _asked(self, photos: Iterable[PhotoLike]) -> Stream:
        most = max(max(self._counts), self._retrieved)
        for photo, found in self._retriever.neighbours(as_photos(photos), most, max(self._counts)):
            if isinstance(found, Rejected):
                yield photo, found
                continue
            prompts: list[Prompt] = []
            for count in self._counts:
                template = self._prompt if count else self._zeroshot_prompt
                shown = Neighbours(found.nearest[:count], found.farthest[:count])
                asked = template.fill(photo, shown)
                prompts += [replace(asked, sample=sample) for sample in range(self._samples)]
            yield Question(photo, found, tuple(prompts))

    def _decide(self, question: Question, replies: list[Reply]) -> Guess:
        words = tuple(prompt.text for prompt in question.prompts)
        answers = [location for reply in replies if (location := location_in(reply)) is not None]
        if not answers:
            status, detail = outcome(replies[0], None)
            return Guess(
                question.photo,
                status,
                None,
                None,
                question.neighbours,
                words,
                tuple(replies),
                detail,
            )
        retrieved = question.neighbours.nearest[: self._retrieved]
        candidates = [*answers, *(entry.location for entry in retrieved)]
        shares = np.concatenate(
            [np.ones(len(answers)), weights(retrieved) if retrieved else np.empty(0)]
        )
        chosen = self._chosen(question, candidates, shares)
        points = degrees(candidates)
        enough = len(candidates) >= FEWEST
        radius = (
            round(max(FINEST_KM, spread_km(candidates[chosen], points, shares, SHARE)), 1)
            if enough
            else None
        )
        kind = "a reply" if chosen < len(answers) else "a neighbour's place"
        how = (
            f"{kind}, by {self._choose} among {len(answers)} of {len(replies)} replies and"
            f" {len(retrieved)} neighbours"
        )
        return Guess(
            question.photo,
            "located",
            candidates[chosen],
            radius,
            question.neighbours,
            words,
            tuple(replies),
            how,
        )

    def _chosen(self, question: Question, candidates: Sequence[Location], shares: Array) -> int:
        if self._choose == "agreement" or self._verifier is None:
            return densest(degrees(candidates), shares, self._bandwidth_km)
        (image,) = self._verifier.encode([question.photo])
        if isinstance(
            image, Rejected
        ):  # It was readable for the gallery's encoder; agreement is what is left.
            return densest(degrees(candidates), shares, self._bandwidth_km)
        return int(np.argmax(self._verifier.encode_points(candidates) @ image))
