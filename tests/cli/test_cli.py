"""The command line as a user meets it: stdout, stderr, exit codes, messages and helps."""

import io
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2loc.cli import _run
from tests.conftest import Cli, MakePhoto, picture
from tests.server import ChatServer, fails, hangs, says, sends

KEYS = [
    *(
        "photo",
        "status",
        "lat",
        "lon",
        "radius_km",
        "radius_share",
        "spread_km",
        "best",
        "nearest",
        "farthest",
        "prompts",
        "replies",
        "repairs",
        "detail",
    ),
    *("place", "region", "locator", "encoder", "gallery"),
]


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def toy(tmp_path: Path, make_photo: MakePhoto, run: Cli) -> tuple[Path, Path]:
    """A configuration with a quick encoder, and a gallery that it built over 12 photographs."""
    config = tmp_path / "toy.toml"
    config.write_text(
        '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n[lmm.gpt]\ntimeout = 60.0\nretries ='
        " 0\nconcurrency = 1\n"
    )
    places = ["48.8584,2.2945", "51.5007,-0.1246", "40.6892,-74.0445", "-33.8568,151.2153"] * 3
    rows = [
        f"{make_photo(f'gallery/{n}.jpg', n).name},{place},place {n}"
        for n, place in enumerate(places)
    ]
    (tmp_path / "gallery" / "all.csv").write_text("file,lat,lon,label\n" + "\n".join(rows))
    code, out, err = run(
        "index",
        "build",
        tmp_path / "gallery" / "all.csv",
        "--out",
        tmp_path / "g",
        "--encoder",
        "toy",
        "--config",
        config,
    )
    assert (code, out) == (0, ""), err
    assert "12 photos" in err
    return config, tmp_path / "g"


def test_ask_answers_out_of_the_box(run: Cli, make_photo: MakePhoto) -> None:
    """No key, no hub, no configuration: the starter gallery, and two lines that say so."""
    photo = make_photo()
    code, out, err = run("ask", photo)
    assert code == 0
    assert out.startswith(f"{photo}\n")
    assert "https://www.openstreetmap.org/?mlat=" in out
    assert err.splitlines()[0].startswith("Searching the starter gallery: only 123 photos")
    assert "img2loc setup" in err.splitlines()[1]
    assert len(err.splitlines()) == 2


def test_json_is_one_object_a_photo_and_alone(
    run: Cli, toy: tuple[Path, Path], make_photo: MakePhoto
) -> None:
    config, gallery = toy
    photos = [make_photo(f"gallery/{n}.jpg", n) for n in (1, 3)]
    code, out, _ = run(
        "ask", *photos, "--gallery", gallery, "--config", config, "--json", "-k", "3"
    )
    first, second = records(out)
    assert code == 0
    assert list(first) == KEYS
    assert (first["photo"], first["status"], first["lat"], first["lon"]) == (
        str(photos[0]),
        "located",
        51.5007,
        -0.1246,
    )
    assert first["place"]["country_code"] == "GB"
    assert list(first["place"]) == ["name", "region", "country", "country_code", "distance_km"]
    assert len(first["nearest"]) == 3
    assert first["nearest"][0] == {
        "lat": 51.5007,
        "lon": -0.1246,
        "similarity": 1.0,
        "id": "1.jpg",
        "label": "place 1",
    }
    assert (first["locator"], first["encoder"], first["gallery"]) == (
        "retrieval",
        "pixels/6",
        str(gallery),
    )
    assert second["place"]["country_code"] == "AU"


def test_img2loc_sends_both_ends_and_the_pixels(
    run: Cli, toy: tuple[Path, Path], make_photo: MakePhoto, chat: ChatServer
) -> None:
    config, gallery = toy
    exif = Image.Exif()
    exif[271] = "SECRET"
    photo = make_photo("holiday.jpg", 5, exif=exif, comment=b"SECRET")
    chat.script(says('```json\n{"latitude": 51.5, "longitude": -0.12}\n```'))
    code, out, err = run(
        "ask", photo, "--locator", "img2loc", "--gallery", gallery, "--config", config, "--json"
    )
    (record,) = records(out)
    assert code == 0, err
    assert (record["lat"], record["lon"], record["locator"]) == (51.5, -0.12, "img2loc")
    assert (len(record["nearest"]), len(record["farthest"])) == (6, 6)  # of 12 rows
    for entry in (record["nearest"][0], record["farthest"][0]):
        assert f"({entry['lat']:.4f}, {entry['lon']:.4f})" in chat.text()
    assert b"SECRET" not in chat.jpeg()
    assert "holiday" not in str(chat.requests)
    assert record["replies"][0]["usage"] == {
        "input_tokens": 321,
        "output_tokens": 12,
        "cost_usd": 0.0009225,
    }


def test_a_plain_ask_uses_the_better_parts_and_names_them(
    run: Cli, toy: tuple[Path, Path], make_photo: MakePhoto, chat: ChatServer
) -> None:
    config, gallery = toy
    config.write_text(config.read_text() + f'[gallery.mine]\npath = "{gallery}"\n')
    chat.script(says("51.5, -0.12"))
    code, out, err = run("ask", make_photo(), "--config", config, "--json")
    (record,) = records(out)
    assert (code, record["locator"], record["gallery"]) == (0, "img2loc", "mine")
    assert err.splitlines()[0] == "Using img2loc: the gallery mine (12 photos)."
    assert f"Photos are sent to the LMM gpt at {chat.url}" in err


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (says(None, refusal="No."), "refused"),
        (says("I'm sorry, I can't help with that."), "refused"),
        (says("The photo was taken at 48.", finish="length"), "unparsed"),
        (says("lovely"), "unparsed"),
        (hangs, "failed"),
        (fails(500), "failed"),
        (lambda: sends("<html>", kind="text/html"), "failed"),
    ],
)
def test_one_bad_answer_does_not_disturb_the_others(
    run: Cli,
    toy: tuple[Path, Path],
    make_photo: MakePhoto,
    chat: ChatServer,
    answer: Any,
    status: str,
) -> None:
    config, _gallery = toy
    if answer is hangs:  # Long enough for the healthy replies on a busy machine.
        config.write_text(config.read_text().replace("timeout = 60.0", "timeout = 2.0"))
    chat.script(says("1.55, 2.55"), answer, says("3.55, 4.55"))
    photos = [make_photo(f"{n}.jpg", n) for n in range(3)]
    code, out, _ = run("ask", *photos, "--locator", "zeroshot", "--config", config, "--json")
    first, second, third = records(out)
    assert code == 3
    assert (first["status"], first["lat"]) == ("located", 1.55)
    assert (second["status"], second["lat"]) == (status, None)
    assert second["detail"]
    assert (third["status"], third["lat"]) == ("located", 3.55)


def test_a_refused_key_is_an_error_and_keeps_what_was_answered(
    run: Cli, toy: tuple[Path, Path], make_photo: MakePhoto, chat: ChatServer
) -> None:
    config, _ = toy
    chat.script(says("1.55, 2.55"), fails(401, "invalid_api_key", "Incorrect API key provided."))
    photos = [make_photo(f"{n}.jpg", n) for n in range(3)]
    code, out, err = run("ask", *photos, "--locator", "zeroshot", "--config", config, "--json")
    assert code == 1
    assert len(records(out)) == 1
    assert "Incorrect API key provided." in err
    assert "Traceback" not in err


def files_of_all_kinds(folder: Path) -> list[Path]:
    """One good photo, five that cannot be read, four that are odd but good."""
    folder.mkdir()
    names = [
        "good.jpg",
        "truncated.jpg",
        "text.jpg",
        "empty.jpg",
        "missing.jpg",
        "cmyk.jpg",
        "grey16.png",
        "palette.gif",
        "rotated.jpg",
        "bomb.png",
    ]
    good, truncated, text, empty, _, cmyk, grey16, palette, rotated, bomb = (
        folder / name for name in names
    )
    large = picture(1, (640, 480))
    large.save(good)
    truncated.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text.write_text("this is not a photograph")
    empty.touch()
    large.convert("CMYK").save(cmyk)
    Image.fromarray(np.asarray(large.convert("L")).astype(np.uint16) * 257).save(grey16)
    large.quantize(64).save(palette, transparency=3)
    exif = Image.Exif()
    exif[274] = 6
    large.rotate(90, expand=True).save(rotated, exif=exif, quality=95)
    Image.new("1", (30_000, 30_000)).save(bomb)
    return [folder / name for name in names]


def test_ten_files_five_answers_five_clear_lines(run: Cli, tmp_path: Path) -> None:
    """In a process of its own, with its memory measured."""
    files = files_of_all_kinds(tmp_path / "files")
    script = (
        "import resource, sys; from img2loc.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = [sys.executable, "-W", "error", "-c", script, "ask", *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    statuses = {Path(record["photo"]).name: record["status"] for record in records(done.stdout)}
    assert done.returncode == 3
    assert [name for name, status in statuses.items() if status == "unreadable"] == [
        *("truncated.jpg", "text.jpg", "empty.jpg", "missing.jpg", "bomb.png")
    ]
    assert sum(status == "located" for status in statuses.values()) == 5
    located = {
        Path(record["photo"]).name: record["nearest"]
        for record in records(done.stdout)
        if record["nearest"]
    }
    same = {entry["id"] for entry in located["rotated.jpg"]} & {
        entry["id"] for entry in located["good.jpg"]
    }
    assert len(same) >= 12  # of 16: seen upright, it is the same picture
    assert int(done.stderr.splitlines()[-1]) * 1024 < 3e9
    _, plain, _ = run("ask", *files)
    assert sum("cannot be read" in line for line in plain.splitlines()) == 5


def test_folders_and_stdin(
    run: Cli, toy: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, gallery = toy
    options = ("--gallery", gallery, "--config", config, "--json")
    code, out, _ = run("ask", tmp_path / "gallery", *options)
    assert code == 0
    assert [Path(record["photo"]).name for record in records(out)] == sorted(
        f"{n}.jpg" for n in range(12)
    )

    class Stdin:
        buffer = io.BytesIO((tmp_path / "gallery" / "2.jpg").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    code, out, _ = run("ask", "-", *options)
    assert (code, records(out)[0]["photo"], records(out)[0]["lat"]) == (0, "-", 40.6892)


def test_explain_shows_neighbours_prompt_and_reply(
    run: Cli, toy: tuple[Path, Path], make_photo: MakePhoto, chat: ChatServer
) -> None:
    config, gallery = toy
    chat.script(says("51.5, -0.12 I say"))
    _, out, _ = run(
        "ask",
        make_photo(),
        "--locator",
        "img2loc",
        "--gallery",
        gallery,
        "--config",
        config,
        "--explain",
        "-k",
        "2",
    )
    for words in (
        "nearest:",
        "farthest:",
        "prompt:",
        "expert in image geolocation",
        "reply of gpt-4o (answered):",
        "51.5, -0.12 I say",
    ):
        assert words in out


def test_index_info_and_query(run: Cli, toy: tuple[Path, Path], tmp_path: Path) -> None:
    config, gallery = toy
    code, out, _ = run("index", "info", gallery)
    info = json.loads(out)
    assert (code, info["rows"], info["encoder"]["alias"], info["countries"]) == (
        0,
        12,
        "toy",
        {"AU": 3, "FR": 3, "GB": 3, "US": 3},
    )
    assert info["bytes"] > 0
    code, out, _ = run(
        "index", "query", gallery, tmp_path / "gallery" / "4.jpg", "-k", "2", "--config", config
    )
    found = records(out)
    assert [entry["end"] for entry in found] == ["nearest", "nearest", "farthest", "farthest"]
    assert (found[0]["id"], found[0]["similarity"]) == ("4.jpg", 1.0)
    assert run("index", "query", gallery, tmp_path / "absent.jpg", "--config", config)[0] == 3


def test_doctor_config_and_setup(run: Cli, tmp_path: Path) -> None:
    code, out, _ = run("doctor")
    assert code == 0
    assert out.startswith("works now\n  locators: retrieval, retrieval-mode\n  starter: ")
    assert "\nlacking\n" in out
    assert re.search("\n  agent, ensemble, img2loc, .*zeroshot: export OPENAI_API_KEY", out)
    assert "geoclip, geoclip-paper, geoclip-ten-crop: img2loc setup geoclip" in out
    rows = sum(len(textwrap.wrap(line, 80)) for line in out.splitlines())
    assert rows <= 24 - 2  # A terminal's screen, with the prompt.
    code, out, _ = run("doctor", "--all")
    assert code == 0
    assert "clip-l14: weights not here (1.7 GB, MIT): img2loc setup clip-l14" in out
    assert "retrieval: can run now" in out
    assert "img2loc: lacks\n    lmm gpt" in out
    (tmp_path / "c.toml").write_text('[lmm.gpt]\nmodel = "gpt-5"')
    code, out, _ = run("config", "show", "--config", tmp_path / "c.toml")
    assert (
        f'[lmm.gpt]\nkind = "openai"  # defaults\nmodel = "gpt-5"  # {tmp_path / "c.toml"}' in out
    )
    import tomllib

    assert tomllib.loads(out)["lmm"]["gpt"]["model"] == "gpt-5"
    odd = (
        '[lmm."a b"]\nkind = "langchain"\nmodel = "x\\u007f"\noptions = { a = [1, { b = true }], "c'
        ' d" = "e" }'
    )
    (tmp_path / "c.toml").write_text(odd)
    _, out, _ = run("config", "show", "--config", tmp_path / "c.toml")
    assert tomllib.loads(out)["lmm"]["a b"] == tomllib.loads(odd)["lmm"]["a b"]
    code, out, err = run("setup", "img2loc")  # no hub can be reached here
    assert code == 1
    assert "missing  encoder clip-l14: timm/vit_large_patch14_clip_224.openai" in err
    assert "1.7 GB" in err
    assert "Jia-py/MP16-Pro" in err
    assert "The hub cannot be asked" in err
    assert run("setup", "lite0")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ask"], 2, "Name photos"),
        (["ask", "x.jpg", "--nonsense"], 2, "No such option"),
        (["ask", "x.jpg", "-k", "0"], 2, "greater than or equal to 1"),
        (
            ["ask", "x.jpg", "--locator", "nonsense"],
            1,
            "no locator named 'nonsense'. Known: agent, clip-hierarchy, clip-paper, ensemble",
        ),
        (["ask", "x.jpg", "--gallery", "nonsense"], 1, "no gallery named 'nonsense'"),
        (["ask", "x.jpg", "--gallery", "."], 1, "img2loc index build"),
        (["ask", "x.jpg", "--locator", "img2loc"], 1, "OPENAI_API_KEY is not set"),
        (["ask", "x.jpg", "--locator", "retrieval", "--lmm", "gpt"], 1, "takes no --lmm"),
        (["ask", "."], 1, "holds no photographs"),
        (["ask", "x.jpg", "--config", "absent.toml"], 1, "no configuration file"),
        (["index", "build", "absent.csv", "--out", "g"], 1, "no file or folder absent.csv"),
        (
            ["index", "build", "nonsense", "--out", "g"],
            1,
            "Known: cities, cities-paper, cities-us-states, countries",
        ),
        (["index", "build", "mp16"], 1, "Jia-py/MP16-Pro"),
        (["index", "build", ".", "--out", "g", "--encoder", "clip-l14"], 1, "holds no photographs"),
        (["index", "info", "absent/g"], 1, "no gallery at absent/g"),
        (["setup", "nonsense"], 1, "no locator named 'nonsense'"),
        (["bench", "ablate", "x.csv", "-k", "4,0"], 2, "'4,0' is no list of numbers above 0"),
    ],
)
def test_mistakes_are_sentences_with_a_remedy(
    run: Cli, words: list[str], code: int, message: str
) -> None:
    got, out, err = run(*words)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_a_wrong_encoder_names_both(
    run: Cli, toy: tuple[Path, Path], tmp_path: Path, make_photo: MakePhoto
) -> None:
    config, gallery = toy
    config.write_text('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\nside = 4')
    code, _, err = run("ask", make_photo(), "--gallery", gallery, "--config", config)
    assert code == 1
    assert "'pixels/6'" in err
    assert "'pixels/4'" in err


def test_a_gallery_names_no_code_to_run(run: Cli, toy: tuple[Path, Path], tmp_path: Path) -> None:
    """A gallery is other people's data: only the user's configuration may name foreign classes."""
    _, gallery = toy
    code, _, err = run("ask", tmp_path / "gallery" / "3.jpg", "--gallery", gallery)
    assert code == 1
    assert (
        "built by the class 'tests.toys:PixelEncoder'. Put it into your configuration as"
        " [encoder.toy]" in err
    )


def test_a_gallery_brings_its_encoder_without_any_configuration(
    run: Cli, tmp_path: Path, make_photo: MakePhoto, tiny_clip: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[encoder.tiny]\nkind = "transformers"\nmodel = "{tiny_clip}"\n')
    rows = [f"{make_photo(f'album/{n}.jpg', n).name},{n + 1},{n + 2}" for n in range(4)]
    (tmp_path / "album" / "all.csv").write_text("file,lat,lon\n" + "\n".join(rows))
    built = run(
        "index",
        "build",
        tmp_path / "album" / "all.csv",
        "--out",
        "G",
        "--encoder",
        "tiny",
        "--config",
        config,
    )
    assert built[0] == 0, built[2]
    code, out, err = run("ask", tmp_path / "album" / "3.jpg", "--gallery", "G", "--json")
    assert (code, records(out)[0]["lat"]) == (0, 4.0), err
    config.write_text(
        '[encoder.tiny]\nkind = "lite0"\n'
    )  # another encoder of that name: the gallery knows better
    assert (
        run("ask", tmp_path / "album" / "3.jpg", "--gallery", "G", "--json", "--config", config)[0]
        == 0
    )


def test_odd_names_do_not_stop_the_others(run: Cli, toy: tuple[Path, Path], tmp_path: Path) -> None:
    config, gallery = toy
    good = tmp_path / "gallery" / "2.jpg"
    empty = tmp_path / "empty"
    empty.mkdir()
    odd = ["x" * 300 + ".jpg", "a\nb\x1b[31m.jpg", good, empty]
    code, out, err = run("ask", *odd, "--gallery", gallery, "--config", config)
    assert code == 3
    assert (
        len(out.splitlines()) == 7
    )  # one line for each that cannot be read, five for the good one
    assert "\x1b" not in out
    assert "holds no photographs" in err


def test_with_few_neighbours_there_is_no_false_certainty(run: Cli, make_photo: MakePhoto) -> None:
    photo = make_photo()
    _, many, _ = run("ask", photo, "--json")
    _, one, _ = run("ask", photo, "--json", "-k", "1")
    assert len(records(one)[0]["nearest"]) == 1
    assert records(one)[0]["spread_km"] == records(many)[0]["spread_km"] > 100


def test_a_damaged_gallery_of_ones_own_does_not_stop_a_plain_ask(
    run: Cli, make_photo: MakePhoto, tmp_path: Path
) -> None:
    for name, content in {"a": '{"format": 1}', "b": "[]", "c": "junk"}.items():
        folder = tmp_path / "home" / "galleries" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(content)
    code, _, err = run("ask", make_photo())
    assert (code, "starter gallery" in err) == (0, True)
    assert run("doctor")[0] == 0


def test_output_that_nobody_reads_on(make_photo: MakePhoto) -> None:
    command = (
        f"{sys.executable} -m img2loc ask {make_photo()} {make_photo('b.jpg', 2)} --explain"
        " 2>errors | head -c 1"
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in Path("errors").read_text()


def test_a_thread_that_is_stuck_does_not_hold_the_process_back() -> None:
    stuck = (
        "import threading; threading.Thread(target=threading.Event().wait).start(); from"
        " img2loc.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", stuck, "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip()


# A shell ignores the interrupt for what it starts with `&`, and so do all processes below it: also
# those of `make test &`.
AS_IN_THE_FOREGROUND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from img2loc.cli"
    " import main; main()"
)


def test_an_interrupt_does_not_wait_for_the_request_in_flight(
    make_photo: MakePhoto, chat: ChatServer
) -> None:
    import signal
    import time

    chat.script(hangs)
    command = [
        sys.executable,
        "-c",
        AS_IN_THE_FOREGROUND,
        "ask",
        str(make_photo()),
        "--locator",
        "zeroshot",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not chat.requests:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)  # The server still hangs.
    assert (process.returncode, b"Interrupted" in err) == (130, True)


def test_interrupted_is_130(
    run: Cli, monkeypatch: pytest.MonkeyPatch, make_photo: MakePhoto
) -> None:
    from img2loc.locators.retrieval import Retrieval

    def interrupted(self: Retrieval, photos: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(Retrieval, "locate", interrupted)
    code, _, err = run("ask", make_photo())
    assert code == 130
    assert "Interrupted" in err


def test_a_fault_of_ours_has_no_traceback_unless_asked_for(
    run: Cli,
    monkeypatch: pytest.MonkeyPatch,
    make_photo: MakePhoto,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from img2loc.locators.retrieval import Retrieval

    def faulty(self: Retrieval, photos: object) -> object:
        raise RuntimeError("boom")

    monkeypatch.setattr(Retrieval, "locate", faulty)
    code, _, err = run("ask", make_photo())
    assert code == 1
    assert "RuntimeError: boom" in err
    assert "--debug" in err
    assert _run(debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_python_way_in(toy: tuple[Path, Path], tmp_path: Path) -> None:
    import img2loc

    config, gallery = toy
    locator = img2loc.load("retrieval", gallery=gallery, config=config, k=2)
    photos: list[Path | str] = [tmp_path / "gallery" / "1.jpg", str(tmp_path / "absent.jpg")]
    found, absent = locator.locate(photos)
    assert found.location == img2loc.Location(51.5007, -0.1246)
    assert len(found.neighbours.nearest) == 2
    assert absent.status == "unreadable"
    assert img2loc.parse_location("48.8584, 2.2945") == img2loc.Location(48.8584, 2.2945)
    with pytest.raises(img2loc.Img2LocError):
        img2loc.load("nonsense")


def test_the_module_runs_too() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "img2loc", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout == "0.1.0\n"


def test_the_lists_of_commands_are_whole_sentences_in_80_columns(
    run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def listed(*group: str) -> dict[str, str]:
        code, out, _ = run(*group, "--help")
        assert code == 0
        assert all(len(line) <= 80 for line in out.splitlines())
        _, _, commands = out.partition("\nCommands:\n")
        pairs = (line.split(maxsplit=1) for line in commands.splitlines())
        return dict(pairs)

    root = listed()
    assert next(iter(root)) == "ask"
    assert {name: next(iter(listed(name))) for name in ("index", "bench")} == {
        "index": "build",
        "bench": "run",
    }
    for group in ((), *((name,) for name in root)):
        cut = {
            name: summary
            for name, summary in listed(*group).items()
            if not summary.endswith(".") or summary.endswith("..")
        }
        assert cut == {}, group
