"""An LMM asked the same again: a repetition of a whole run has replies of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from img2loc.core.protocols import LMM
from img2loc.core.types import Prompt, Reply

_SAMPLES = 1_000_000
"""More than any locator asks of one prompt in one run."""


class Repeated:
    """The LMM, asked for samples that no other repetition asks for.

    `repeat` numbers the repetitions from 0. Neither a cache nor a seed that goes by the prompt's
    `sample` gives two of them one reply.
    """

    def __init__(self, lmm: LMM, repeat: int) -> None:
        self._lmm = lmm
        self._first = repeat * _SAMPLES

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order."""
        return self._lmm.ask(
            replace(prompt, sample=self._first + prompt.sample) for prompt in prompts
        )
