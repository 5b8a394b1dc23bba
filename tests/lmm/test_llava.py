"""A tiny random LLaVA of the real classes: in this process, and behind a real server over HTTP."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.core.types import Photo, Prompt
from img2loc.lmm.llava import Llava
from tests.conftest import Cli, MakePhoto, configure


def test_it_sees_the_photo_and_is_deterministic(tiny_llava: Path, make_photo: MakePhoto) -> None:
    model = Llava(str(tiny_llava), max_tokens=12, dtype="float32", device="cpu")
    prompts = [Prompt("Where?", Photo(make_photo(f"{n}.jpg", n))) for n in range(3)]
    first = list(model.ask(prompts))
    assert [reply.status for reply in first] == ["truncated"] * 3  # random weights ramble on
    assert all(reply.usage and reply.usage.output_tokens == 12 for reply in first)
    assert len({reply.text for reply in first}) > 1  # other pixels, other words
    assert list(model.ask(prompts)) == first
    assert first[0].usage is not None
    assert first[0].usage.input_tokens > 16 + len(
        "Where?"
    )  # sixteen patches of the image, and the words


def test_batches_answer_as_singles_do(
    tiny_llava: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    prompts = [Prompt("Where? " * (n + 1), Photo(make_photo(f"{n}.jpg", n))) for n in range(5)]
    prompts.insert(2, Prompt("Where?", Photo(tmp_path / "absent.jpg")))
    singles = list(Llava(str(tiny_llava), max_tokens=8, dtype="float32", device="cpu").ask(prompts))
    batched = list(
        Llava(str(tiny_llava), max_tokens=8, dtype="float32", device="cpu", batch_size=4).ask(
            prompts
        )
    )
    assert [reply.text for reply in batched] == [reply.text for reply in singles]
    assert (batched[2].status, batched[2].detail) == (
        "failed",
        "the photo cannot be read: no such file",
    )


def test_samples_differ_and_repeat_themselves(tiny_llava: Path, make_photo: MakePhoto) -> None:
    model = Llava(str(tiny_llava), max_tokens=8, dtype="float32", device="cpu", temperature=1.0)
    photo = Photo(make_photo())
    prompts = [Prompt("Where?", photo, sample) for sample in range(4)]
    texts = [reply.text for reply in model.ask(prompts)]
    assert len(set(texts)) == 4
    assert [reply.text for reply in model.ask(prompts)] == texts


def test_a_prompt_that_breaks_the_template_costs_itself_only(
    tiny_llava: Path, make_photo: MakePhoto
) -> None:
    model = Llava(str(tiny_llava), max_tokens=4, dtype="float32", device="cpu", batch_size=3)
    photo = Photo(make_photo())
    replies = list(model.ask([Prompt("a", photo), Prompt("b <image>", photo), Prompt("c", photo)]))
    assert [reply.status for reply in replies] == ["truncated", "failed", "truncated"]


def test_what_cannot_be_loaded_is_named(tmp_path: Path, tiny_clip: Path) -> None:
    with pytest.raises(MissingWeights, match=r"llava-hf/llava-1\.5-7b-hf"):
        Llava("llava-hf/llava-1.5-7b-hf")
    with pytest.raises(ConfigError, match="neither a folder nor a hub id"):
        Llava("./absent")
    with pytest.raises(MissingWeights, match="cannot load"):
        Llava(str(tiny_clip))
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Llava(str(tmp_path), batch_size=0)


def ask(run: Cli, config: str, photo: Path, *options: str) -> dict[str, Any]:
    configure(config)
    code, out, err = run("ask", photo, "--locator", "zeroshot", "--json", *options)
    assert code in (0, 3), err
    record: dict[str, Any] = json.loads(out)
    return record


def test_ask_with_a_llava_named_in_a_config_file(
    run: Cli, tiny_llava: Path, make_photo: MakePhoto
) -> None:
    config = f'[lmm.mine]\nkind = "llava"\nmodel = "{tiny_llava}"\nmax_tokens = 12\n'
    record = ask(run, config, make_photo(), "--lmm", "mine", "--local-only")
    (reply,) = record["replies"]
    assert reply["model"] == str(tiny_llava)
    assert reply["text"]
    assert reply["usage"]["output_tokens"] == 12


def test_the_same_model_behind_transformers_serve(
    run: Cli, tiny_llava: Path, make_photo: MakePhoto
) -> None:
    """A real server of another project, asked over HTTP by the openai backend, image included."""
    with socket.socket() as held:
        # Bound for as long as the server runs, so that the port is given to nobody else; the server
        # may share it.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        script = Path(sys.executable).with_name("transformers")
        words = [
            "--host",
            "127.0.0.1",
            "--port",
            url.rpartition(":")[2],
            "--device",
            "cpu",
            "--dtype",
            "float32",
        ]
        server = subprocess.Popen(
            [script, "serve", tiny_llava, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not answers(f"{url}/health"):
                assert server.poll() is None
                time.sleep(0.1)
            config = (
                f'[lmm.server]\nmodel = "{tiny_llava}"\nbase_url = "{url}/v1"\nmax_tokens ='
                " 12\ntemperature = 0.0\nretries = 0\n"
            )
            photo = make_photo()
            record = ask(run, config, photo, "--lmm", "server", "--local-only")
            (reply,) = record["replies"]
            assert reply["status"] in ("answered", "truncated"), reply
            assert reply["text"]
            in_process = ask(
                run,
                f'[lmm.mine]\nkind = "llava"\nmodel = "{tiny_llava}"\nmax_tokens = 12\n',
                photo,
                "--lmm",
                "mine",
            )
            assert list(record) == list(in_process)
        finally:
            server.terminate()
            server.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url).close()
    except OSError:
        return False
    return True
