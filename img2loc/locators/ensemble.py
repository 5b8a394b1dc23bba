"""Several prompts, several candidates, one answer: G3's ensemble (Jia et al., NeurIPS 2024)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from img2loc.core.errors import ConfigError, PromptError
from img2loc.core.geo import Array, degrees, densest, distance_km
from img2loc.core.protocols import LMM, Encoder, Verifier
from img2loc.core.types import (
    Answer,
    Guess,
    Location,
    Neighbours,
    PhotoLike,
    Prompt,
    Rejected,
    as_photos,
)
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Exclusions, Retriever
from img2loc.lmm.prompts import Template
from img2loc.locators.conversation import Conversation, Repair, Settled
from img2loc.locators.lmm_stream import Question, Stream, stream_guesses
from img2loc.locators.spread import spread_km, weights


class Ensemble:
    """Asks `samples` times with each number of neighbours in `counts` (0: zero-shot) and chooses.

    Candidates are the replies and the `retrieved` nearest coordinates. `choose` is "agreement" (the
    candidate in the densest place; each reply counts 1, the retrieved ones 1 together, shared by
    similarity) or "verify" (the candidate whose point vector is most similar to the photograph's
    vector under `verifier`, a model with an image tower and a point tower such as GeoCLIP). The
    spread holds 68 % of the weight of two candidates or more. `answer` and `repair` are as in
    `Conversation`, for each reply.

    With several `lmms`, the best first, by name, `lmm` is a Panel of them, and each is asked all of
    that. The first that gives a place answers, and the others say how far to trust it: the mean of
    models that are not equally good is worse than the best one alone. Which one is best, `bench
    calibrate` says. Raises ConfigError or PromptError for what does not fit.
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
        answer: Answer = "coordinates",
        repair: Repair = 0,
        lmms: Sequence[str] = (),
    ) -> None:
        if len(set(lmms)) != len(lmms):
            raise ConfigError(f"lmms = {list(lmms)} names one twice. Use samples to ask it again.")
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
        if max(counts) and "nearest" not in prompt.sides:
            raise PromptError(
                f"The prompt {prompt.name!r} shows no nearest neighbours. Choose another, or set"
                " counts = [0]."
            )
        prompt.require_answer(answer)
        zeroshot_prompt.require_answer(answer)
        self._of = gallery.of
        self._retriever = Retriever(encoder, gallery, exclusions)
        self._prompt, self._zeroshot_prompt = prompt, zeroshot_prompt
        self._talk, self._verifier = Conversation(lmm, answer, repair), verifier
        self._counts, self._samples, self._retrieved = tuple(counts), samples, retrieved
        self._choose, self._bandwidth_km = choose, bandwidth_km
        self._lmms = tuple(lmms)

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return stream_guesses(self._talk, self._questions(photos), self._decide)

    def _questions(self, photos: Iterable[PhotoLike]) -> Stream:
        shown = max(self._counts)
        nearest = max(shown, self._retrieved)
        for photo, hits in self._retriever.neighbours(as_photos(photos), nearest, shown):
            if isinstance(hits, Rejected):
                yield photo, hits
                continue
            prompts: list[Prompt] = []
            for count in self._counts:
                template = self._prompt if count else self._zeroshot_prompt
                ends = Neighbours(hits.nearest[:count], hits.farthest[:count]).disjoint()
                prompt = template.fill(photo, ends, self._of, self._talk.answer)
                prompts += [replace(prompt, sample=sample) for sample in range(self._samples)]
            lmms = range(max(1, len(self._lmms)))
            yield Question(
                photo, hits, tuple(replace(prompt, to=lmm) for lmm in lmms for prompt in prompts)
            )

    def _decide(self, question: Question, settled: list[Settled]) -> Guess:
        answers = [one.location for one in settled if one.location is not None]
        if not answers:
            return question.guess(settled, *self._talk.outcome(settled[0]))
        retrieved = question.neighbours.nearest[: self._retrieved]
        candidates = [*answers, *(entry.location for entry in retrieved)]
        shares = np.concatenate([np.ones(len(answers)), weights(retrieved)])
        if self._lmms:
            return self._by_the_first(question, settled, candidates, shares)
        chosen = self._chosen(question, candidates, shares)
        source = "a reply" if chosen < len(answers) else "a neighbour's place"
        detail = (
            f"{source}, by {self._choose} among {len(answers)} of {len(settled)} replies and"
            f" {len(retrieved)} neighbours"
        )
        spread = spread_km(candidates[chosen], degrees(candidates), shares)
        return question.guess(settled, "located", detail, candidates[chosen], spread)

    def _by_the_first(
        self,
        question: Question,
        settled: list[Settled],
        candidates: Sequence[Location],
        shares: Array,
    ) -> Guess:
        each = len(settled) // len(self._lmms)
        for lmm in range(len(self._lmms)):
            own = settled[lmm * each : (lmm + 1) * each]
            places = [one.location for one in own if one.location is not None]
            if places:
                break
        at = places[self._chosen(question, places, np.ones(len(places)))]
        spread = spread_km(at, degrees(candidates), shares)
        others = [one.location for one in settled if one.location and one not in own]
        near = sum(distance_km(at, other) <= self._bandwidth_km for other in others)
        detail = (
            f"the reply of {self._lmms[lmm]}; {near} of {len(others)} replies of other LMMs are"
            f" within {self._bandwidth_km:g} km"
        )
        return question.guess(settled, "located", detail, at, spread)

    def _chosen(self, question: Question, candidates: Sequence[Location], shares: Array) -> int:
        if self._choose == "verify" and self._verifier is not None:
            (image,) = self._verifier.encode([question.photo])
            if not isinstance(image, Rejected):
                return int(np.argmax(self._verifier.encode_points(candidates) @ image))
            # It was readable for the gallery's encoder; agreement decides.
        return densest(degrees(candidates), shares, self._bandwidth_km)
