"""A recorded run answers again without a model; and swapping the LMM changes nothing else."""

import json
import sys
from pathlib import Path

import pytest

from img2loc.cli import _run
from img2loc.core.errors import ConfigError
from img2loc.core.types import Photo, Prompt
from img2loc.lmm.replay import Replay
from tests.conftest import MakePhoto, configure
from tests.server import ChatServer, fails, says


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["img2loc", *map(str, words)])
    code = _run(debug=False)
    out, err = capsys.readouterr()
    return code, out, err


def test_record_and_replay(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chat: ChatServer,
    make_photo: MakePhoto,
) -> None:
    chat.script(says("1.55, 2.55"), says("3.55, 4.55"), says(None, refusal="no"))
    configure("[lmm.gpt]\nconcurrency = 1\n")
    photos = [make_photo(f"{n}.jpg", n) for n in range(3)]
    _, recorded, _ = run(monkeypatch, capsys, "ask", *photos, "--locator", "zeroshot", "--json")
    Path("run.jsonl").write_text(recorded)
    before = len(chat.requests)
    code, replayed, _ = run(
        monkeypatch,
        capsys,
        "ask",
        *photos,
        "--locator",
        "zeroshot",
        "--lmm",
        "replay",
        "--json",
        "--local-only",
    )
    assert code == 3
    assert replayed == recorded
    assert len(chat.requests) == before
    code, out, _ = run(
        monkeypatch,
        capsys,
        "ask",
        make_photo("new.jpg", 9),
        "--locator",
        "zeroshot",
        "--lmm",
        "replay",
        "--json",
    )
    assert (code, json.loads(out)["status"]) == (3, "failed")
    assert "no reply to this photo and prompt was recorded" in out


def test_a_torn_last_line_is_passed_over_and_junk_is_not(
    tmp_path: Path, make_photo: MakePhoto
) -> None:
    prompt = Prompt("Where?", Photo(make_photo()))
    reply = {
        "text": "1, 2",
        "model": "m",
        "status": "answered",
        "usage": None,
        "detail": "",
        "key": prompt.key(),
    }
    good = json.dumps({"replies": [reply]})
    (tmp_path / "run.jsonl").write_text(f'{good}\n{{"replies": [{{"te')
    assert [answer.text for answer in Replay(str(tmp_path / "run.jsonl")).ask([prompt])] == ["1, 2"]
    (tmp_path / "run.jsonl").write_text(f"junk\n{good}\n")
    with pytest.raises(ConfigError, match="line 1 is not a record of"):
        Replay(str(tmp_path / "run.jsonl"))
    with pytest.raises(ConfigError, match="cannot be read"):
        Replay(str(tmp_path / "absent.jsonl"))


def test_every_backend_gives_the_same_shape(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    chat: ChatServer,
    make_photo: MakePhoto,
    tiny_llava: Path,
) -> None:
    configure(
        f'[lmm.server]\nbase_url = "{chat.url}"\n[lmm.llava]\nmodel = "{tiny_llava}"\nmax_tokens ='
        ' 8\n[lmm.langchain-openai]\nkind = "langchain"\nmodel = "openai:gpt-4o"\noptions = {'
        f' base_url = "{chat.url}", api_key = "k" }}\n'
    )
    shapes, photo = [], make_photo()
    Path("run.jsonl").write_text("")
    for name in ("gpt", "server", "llava", "langchain-openai", "replay", "scripted"):
        words = (
            "ask",
            photo,
            "--locator",
            "img2loc",
            "--gallery",
            "starter",
            "--lmm",
            name,
            "--json",
            "-k",
            "2",
        )
        code, out, err = run(monkeypatch, capsys, *words)
        assert code in (0, 3), err
        record = json.loads(out)
        shapes.append(
            (
                list(record),
                [list(reply) for reply in record["replies"]],
                len(record["nearest"]),
                len(record["farthest"]),
            )
        )
    assert all(shape == shapes[0] for shape in shapes)


def test_local_only(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_photo: MakePhoto,
    chat: ChatServer,
) -> None:
    photo = make_photo()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert (
        run(monkeypatch, capsys, "ask", photo, "--locator", "zeroshot", "--local-only")[0] == 0
    )  # the server is on the loopback
    for address in (
        "https://api.openai.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://10.0.0.5/v1",
        "http://localhost.evil.org",
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        code, out, err = run(
            monkeypatch, capsys, "ask", photo, "--locator", "zeroshot", "--local-only"
        )
        assert (code, out) == (1, "")
        assert f"sends photos to {address}" in err
    code, _, err = run(
        monkeypatch,
        capsys,
        "ask",
        photo,
        "--locator",
        "zeroshot",
        "--lmm",
        "langchain-gemini",
        "--local-only",
    )
    assert (code, "the provider google_genai" in err) == (1, True)
    configure(
        '[lmm.mine]\nkind = "langchain"\nmodel = "openai:gpt-4o"\noptions = { base_url ='
        f' "{chat.url}", api_key = "k" }}\n'
    )
    words = ("ask", photo, "--locator", "zeroshot", "--lmm", "mine", "--local-only")
    assert run(monkeypatch, capsys, *words)[0] == 0
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    code, _, err = run(monkeypatch, capsys, *words)
    assert (code, "names a proxy" in err) == (1, True)


def test_lmm_list_and_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], chat: ChatServer
) -> None:
    code, out, _ = run(monkeypatch, capsys, "lmm", "list")
    assert code == 0
    assert f"gpt: openai, gpt-4o; {chat.url}" in out
    assert "llava: llava, llava-hf/llava-1.5-7b-hf; stays on this machine" in out
    chat.script(says('{"latitude": 48.8584, "longitude": 2.2945}'))
    code, out, _ = run(monkeypatch, capsys, "lmm", "check", "gpt")
    assert code == 0
    assert "parsed      48.8584, 2.2945" in out
    assert "321 in, 12 out; 0.0009" in out
    assert "structured  accepted" in out
    assert len(chat.jpeg()) < 2000
    chat.script(fails(500))
    code, out, _ = run(monkeypatch, capsys, "lmm", "check", "gpt")
    assert (code, "structured  not known: the request failed" in out) == (3, True)
    code, out, _ = run(monkeypatch, capsys, "lmm", "check", "scripted")
    assert (code, "structured  not offered by this backend" in out) == (0, True)
    code, _, err = run(monkeypatch, capsys, "lmm", "check", "nonsense")
    assert (code, "no LMM named 'nonsense'" in err) == (1, True)


def test_max_radius_and_cache_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_photo: MakePhoto,
    chat: ChatServer,
    tmp_path: Path,
) -> None:
    photo = make_photo()
    code, out, _ = run(
        monkeypatch,
        capsys,
        "ask",
        photo,
        "--locator",
        "retrieval",
        "--gallery",
        "starter",
        "--json",
        "--max-radius",
        "10",
    )
    record = json.loads(out)
    assert (code, record["status"], record["lat"]) == (3, "unsure", None)
    for _ in range(2):
        code, _, err = run(monkeypatch, capsys, "ask", photo, "--locator", "zeroshot", "--cache")
        assert code == 0, err
    assert len(chat.requests) == 1
    assert (tmp_path / "home" / "replies.sqlite").exists()
