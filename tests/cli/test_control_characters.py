"""No command prints a control character of other people's data, except newline and tab."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from img2loc.gallery.gallery import Gallery
from tests.cli.test_progress import on_a_terminal
from tests.conftest import ChatServer, Cli, MakePhoto
from tests.server import fails, says

EVIL = "\x1b[2J\x1b]52;c;AAAA\x07\x9b2J\u202egpj\u2066\u200f\u200e\u061c\x7f\x08\r"
"""Clears the screen, writes the clipboard, reverses the reading order, overwrites the line."""
SHOWN = "52;c;AAAA"
CONTROLS = {
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
}


@pytest.fixture
def shows(run: Cli) -> Cli:
    """Run a command that shows EVIL without its control characters: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code, out, err = run(*words)
        assert not {*out, *err} & (CONTROLS - {"\n", "\t"}), (out, err)
        assert SHOWN in out + err, (out, err)
        return code, out, err

    return call


@pytest.mark.parametrize(
    "words",
    [
        ("ask", f"{EVIL}.jpg"),
        ("ask", f"{EVIL}.jpg", "--json"),
        ("ask", "x.jpg", "--locator", EVIL),
        ("ask", "x.jpg", "--gallery", EVIL),
        ("ask", "x.jpg", "--config", f"{EVIL}.toml"),
        ("ask", f"--{EVIL}"),
        (EVIL,),
        ("lmm", "check", EVIL),
        ("setup", EVIL),
        ("index", "build", f"{EVIL}.csv", "--out", "out"),
        ("index", "info", EVIL),
        ("index", "verify", EVIL),
        ("embed", EVIL, "--encoder", "lite0", "--out", "rows.npy"),
        ("bench", "run", EVIL),
        ("bench", "score", EVIL),
        ("data", "verify", EVIL),
        ("train", "geoclip", EVIL, "--out", "out"),
        ("train", "streetclip", "x.csv", "--out", "out", "--set", EVIL),
    ],
    ids=lambda words: "-".join(words).replace(EVIL, "EVIL"),
)
def test_arguments(shows: Cli, words: tuple[str, ...]) -> None:
    assert shows(*words)[0] != 0


def test_names_of_photos_in_a_folder(shows: Cli, make_photo: MakePhoto) -> None:
    folder = make_photo(f"album/{EVIL}.jpg").parent
    assert shows("ask", folder)[0] == 0
    _, out, _ = shows("ask", folder, "--json")
    assert json.loads(out)["photo"] == str(folder / f"{EVIL}.jpg")


def test_replies_and_errors_of_a_server(
    shows: Cli, make_photo: MakePhoto, chat: ChatServer
) -> None:
    photo = make_photo()
    chat.script(says(f"1.5, 2.5 {EVIL}"))
    shows("ask", photo, "--locator", "zeroshot", "--explain")
    _, out, _ = shows("ask", photo, "--locator", "zeroshot", "--json")
    assert json.loads(out)["replies"][0]["text"] == f"1.5, 2.5 {EVIL}"
    chat.script(says(None, refusal=f"no{EVIL}"))
    shows("ask", photo, "--locator", "zeroshot")
    for status in (400, 401, 429, 500):
        chat.script(fails(status, message=f"no{EVIL}", **{"retry-after": "0.01"}))
        shows("ask", photo, "--locator", "zeroshot")
        shows("lmm", "check", "gpt")


def test_values_of_a_configuration(shows: Cli, make_photo: MakePhoto) -> None:
    config = Path("img2loc-evil.toml")
    value = json.dumps(EVIL)
    config.write_text(
        f'[lmm.evil]\nkind = "openai"\nmodel = {value}\nbase_url = {value}\n[locator.{value}]\nkind'
        ' = "retrieval"\n'
    )
    for words in (("config", "show"), ("lmm", "list"), ("doctor",), ("doctor", "--all")):
        shows(*words, "--config", config)
    config.write_text(f"[locator.{value}]\nkind = 1\n")
    shows("ask", make_photo(), "--config", config)
    config.write_text(f"[{value}]\nkind = 1\n")
    shows("config", "show", "--config", config)


def test_cells_of_a_table(shows: Cli, make_photo: MakePhoto) -> None:
    make_photo("album/good.jpg")
    album = make_photo("album/b.jpg").parent
    table = album / "table.csv"
    with table.open("w", newline="") as file:
        file.write(f'photo,lat,lon\ngood.jpg,1,2\n"{EVIL}",3,4\nb.jpg,"{EVIL}",4\n')
    shows("index", "build", table, "--out", "out")


def test_manifests_and_labels_of_galleries(
    shows: Cli, gallery: Gallery, make_photo: MakePhoto
) -> None:
    manifest = gallery.folder / "manifest.json"
    facts = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**facts, "encoder": {**facts["encoder"], "alias": EVIL}}))
    shows("index", "info", gallery.folder)
    shows("ask", make_photo(), "--gallery", gallery.folder)


def test_the_exception_itself(shows: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError(EVIL)

    monkeypatch.setattr("img2loc.config.config.Config.load", fault)
    assert shows("doctor")[0] == 1


def test_the_traceback_of_debug() -> None:
    command = [sys.executable, "-m", "img2loc", "index", "info", EVIL, "--debug"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, env=environment)
    shown = done.stderr.decode()
    assert (done.returncode, "Traceback" in shown, SHOWN in shown) == (1, True, True)
    assert not {*shown} & (CONTROLS - {"\n", "\t"}), shown


def test_answers_go_where_they_should_while_a_bar_is_drawn(make_photo: MakePhoto) -> None:
    """The bar's own codes reach the terminal, those of names do not; the answers are in a file."""
    photos = [str(make_photo(f"{number}{EVIL}.jpg", number)) for number in range(3)]
    with Path("answers").open("w") as answers:
        command = (sys.executable, "-m", "img2loc", "ask", *photos, "--json")
        drawn = on_a_terminal(*command, stdout=answers)
    answered = [json.loads(line)["photo"] for line in Path("answers").read_text().splitlines()]
    assert answered == photos
    assert "\x1b[2K" in drawn
    assert "\x1b]52" not in drawn
