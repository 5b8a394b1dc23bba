"""A folder of photographs is other people's data: nothing in it is obeyed, and no key leaks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from img2loc.cli import config_file
from img2loc.config import factory, galleries
from img2loc.config.config import Config
from img2loc.config.plan import plan_lmm
from img2loc.config.registry import KINDS, class_of
from img2loc.core.errors import ConfigError, GalleryError, MissingWeights
from img2loc.core.types import Photo, Prompt
from img2loc.data import recipes
from img2loc.encoders.transformers import TransformersClip
from img2loc.gallery.gallery import Gallery
from tests.conftest import Cli, MakePhoto, configure
from tests.server import ChatServer

NOTICE = "The img2loc.toml in this folder is not used. If you trust it: --config img2loc.toml\n"
TOUCHED, SECRET = Path("touched"), "the words of a secret file"


class Beacon:
    """Has what is called before an object is made, and no method of any role."""

    @classmethod
    def endpoint(cls, **_: object) -> None:
        TOUCHED.touch()

    needs = endpoint


@pytest.fixture
def attacker(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A server of somebody else's; what OpenAI's package finds in the environment is set."""
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", f"secret-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: secret-header")
    with pytest.MonkeyPatch.context() as apart, HTTPServer(threaded=True) as http:
        server = ChatServer(http)
        apart.delenv("OPENAI_BASE_URL", raising=False)
        yield server


@pytest.fixture
def hostile(attacker: ChatServer) -> str:
    """A configuration that runs a program, sends OpenAI's key elsewhere, and prompts a secret."""
    Path("secret.txt").write_text(SECRET)
    return (
        '[ask]\nlocator = "x"\n[locator.x]\nkind = "subprocess:run"\nargs = ["touch",'
        f' "{TOUCHED}"]\n[lmm.gpt]\nbase_url = "{attacker.url}"\nkey_env ='
        ' "OPENAI_API_KEY"\n[locator.zeroshot]\nprompt = "secret.txt"\n'
    )


def test_a_file_in_the_working_directory_is_not_obeyed(
    hostile: str, attacker: ChatServer, chat: ChatServer, run: Cli, make_photo: MakePhoto
) -> None:
    Path("img2loc.toml").write_text(hostile)
    photo = make_photo()
    code, out, err = run("ask", photo, "--json")
    assert (code, json.loads(out)["status"], err.count(NOTICE)) == (0, "located", 1)
    command = [sys.executable, "-m", "img2loc", "ask", str(photo)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.count("img2loc.toml in this folder") == done.stderr.count(NOTICE) == 1
    assert not TOUCHED.exists()
    assert attacker.requests == []
    assert len(chat.requests) == 2
    assert not any(SECRET in chat.text(number) for number in range(2))


def test_the_same_file_by_name_runs_no_function(
    hostile: str, attacker: ChatServer, run: Cli, make_photo: MakePhoto
) -> None:
    Path("img2loc.toml").write_text(hostile)
    code, out, err = run("ask", make_photo(), "--config", "img2loc.toml")
    assert (code, out, NOTICE in err) == (1, "", False)
    assert (
        "[locator.x]: 'subprocess:run' is no class with the method locate, so it was not called."
        in err
    )
    assert not TOUCHED.exists()
    assert attacker.requests == []


@pytest.mark.parametrize("key_env", ["", 'key_env = "SERVER_KEY"\n'])
def test_another_server_gets_nothing_that_is_for_openai(
    attacker: ChatServer,
    run: Cli,
    make_photo: MakePhoto,
    monkeypatch: pytest.MonkeyPatch,
    key_env: str,
) -> None:
    monkeypatch.setenv("SERVER_KEY", "its-own")
    Path("c.toml").write_text(f'[lmm.gpt]\nbase_url = "{attacker.url}"\n{key_env}')
    code, _, err = run("ask", make_photo(), "--locator", "zeroshot", "--config", "c.toml")
    assert code == 0, err
    assert attacker.headers[0]["Authorization"] == ("Bearer its-own" if key_env else "Bearer none")
    assert "secret" not in str(attacker.headers)


def test_openais_key_goes_elsewhere_only_where_one_table_says_both(
    attacker: ChatServer, run: Cli, make_photo: MakePhoto
) -> None:
    configure(f'[lmm.gpt]\nbase_url = "{attacker.url}"\nkey_env = "OPENAI_API_KEY"\n')
    assert run("ask", make_photo(), "--locator", "zeroshot")[0] == 0
    assert attacker.headers[0]["Authorization"] == "Bearer secret-API_KEY"
    configure('[lmm.server]\nkey_env = "openai_admin_key"\n')
    with pytest.raises(
        ConfigError,
        match=(
            r"\[lmm.server\]: key_env = 'openai_admin_key' is from .*, and base_url from defaults"
        ),
    ):
        factory.lmm(plan_lmm(Config.load(), "server"))


def test_langchain_sends_no_key_of_the_environment_to_a_server_in_its_options(
    attacker: ChatServer, make_photo: MakePhoto
) -> None:
    table = '[lmm.x]\nkind = "langchain"\nmodel = "openai:gpt-4o"\noptions = {{ {} = "{}"{} }}\n'
    for key in ("base_url", "openai_api_base"):
        configure(table.format(key, attacker.url, ""))
        with pytest.raises(ConfigError, match="name a server and no api_key"):
            factory.lmm(plan_lmm(Config.load(), "x"))
    configure(table.format("model_provider", "openai", ""))
    with pytest.raises(ConfigError, match="takes no option model_provider"):
        factory.lmm(plan_lmm(Config.load(), "x"))
    configure(table.format("base_url", attacker.url, ', api_key = "its-own"'))
    (reply,) = factory.lmm(plan_lmm(Config.load(), "x")).ask(
        [Prompt("Where?", Photo(make_photo()))]
    )
    assert (reply.status, attacker.headers[0]["Authorization"]) == ("answered", "Bearer its-own")
    assert "secret" not in str(attacker.headers)


AZURE = '[lmm.x]\nkind = "langchain"\nmodel = "azure_openai:gpt-4o"\noptions = {{ {} }}\n'


def _ask_azure(options: str, make_photo: MakePhoto) -> str:
    configure(AZURE.format(f'api_version = "2024-10-21", {options}'))
    (reply,) = factory.lmm(plan_lmm(Config.load(), "x")).ask(
        [Prompt("Where?", Photo(make_photo()))]
    )
    return reply.status


@pytest.mark.parametrize("server", ["azure_endpoint = {!r}", "base_url = '{}/openai'"])
@pytest.mark.parametrize("key", ["", ", azure_openai_api_key = 'k'", ", api_key = 'its-own'"])
@pytest.mark.parametrize("name", ["AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY"])
def test_langchain_sends_no_key_for_azure_to_a_server_in_its_options(
    attacker: ChatServer,
    make_photo: MakePhoto,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    key: str,
    name: str,
) -> None:
    monkeypatch.setenv(name, "secret-of-azure")
    options = server.format(attacker.url) + key
    if "its-own" in key and name == "AZURE_OPENAI_API_KEY":
        assert _ask_azure(options, make_photo) == "answered"
    else:
        with pytest.raises(ConfigError, match="name a server"):
            _ask_azure(options, make_photo)
    assert "secret" not in str(attacker.headers)


def test_azure_gets_what_the_same_table_says(
    attacker: ChatServer, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"azure_endpoint = {attacker.url!r}, azure_deployment = 'gpt-4o'"
    assert _ask_azure(f"{endpoint}, api_key = 'its-own'", make_photo) == "answered"
    assert attacker.headers[-1]["Api-Key"] == "its-own"
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "secret-of-azure")
    assert _ask_azure(f"{endpoint}, azure_ad_token = 'its-own'", make_photo) == "answered"
    assert attacker.headers[-1]["Authorization"] == "Bearer its-own"
    assert "secret" not in str(attacker.headers)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("ollama:llava", "OLLAMA_API_KEY"),
        ("bedrock_converse:x", "AWS_BEARER_TOKEN_BEDROCK"),
        ("anthropic:x", "ANTHROPIC_AUTH_TOKEN"),
        ("anthropic:x", "ANTHROPIC_CUSTOM_HEADERS"),
        ("google_genai:x", "GOOGLE_API_KEY"),
    ],
)
def test_langchain_sends_no_other_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, model: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "secret")
    options = "base_url = 'http://127.0.0.1:1', api_key = 'its-own'"
    configure(f'[lmm.x]\nkind = "langchain"\nmodel = "{model}"\noptions = {{ {options} }}\n')
    with pytest.raises(ConfigError, match="name a server, which"):
        factory.lmm(plan_lmm(Config.load(), "x"))


@pytest.mark.parametrize(
    "kind",
    [
        "subprocess:run",
        "subprocess:Popen",
        "os:system",
        "tests.cli.test_untrusted_folder:Beacon",
        "os:environ",
    ],
)
@pytest.mark.parametrize("role", KINDS)
def test_what_is_no_class_of_the_role_is_not_called(
    run: Cli, make_photo: MakePhoto, role: str, kind: str
) -> None:
    configure(
        f'[{role}.geoclip]\nkind = "{kind}"\nargs = ["touch", "{TOUCHED}"]\ncommand = "touch'
        f' {TOUCHED}"\n'
    )
    commands = {
        "encoder": ("embed", make_photo(), "--encoder", "geoclip", "--out", "x.npy"),
        "lmm": ("lmm", "check", "geoclip"),
        "locator": ("ask", make_photo(), "--locator", "geoclip"),
        "train": ("train", "geoclip", make_photo(), "--out", "M"),
    }
    code, _, err = run(*commands[role])
    assert (code, f"[{role}.geoclip]" in err, repr(kind) in err) == (1, True, True), err
    for command in (
        ("doctor",),
        ("doctor", "--all"),
        ("lmm", "list"),
        ("ask", make_photo(), "--locator", "retrieval"),
    ):
        run(*command)
    assert not TOUCHED.exists()


def test_every_class_of_ours_passes() -> None:
    for role, kinds in KINDS.items():
        for kind in kinds:
            assert isinstance(class_of(role, "x", {"kind": kind}), type)


@pytest.mark.parametrize("kind", [":run", ".x:Y", "x:"])
def test_a_kind_that_names_no_module_says_so(kind: str) -> None:
    with pytest.raises(ConfigError, match="unknown kind"):
        class_of("lmm", "x", {"kind": kind})


def test_every_command_says_that_the_file_is_not_used(run: Cli) -> None:
    Path("img2loc.toml").write_text("not even TOML")
    for words in (
        ("doctor",),
        ("config", "show"),
        ("lmm", "list"),
        ("index", "info", "starter"),
        ("setup", "lite0"),
    ):
        code, _, err = run(*words)
        assert (code, err.count(NOTICE)) == (0, 1), words
    commands = Path(config_file.__file__).parent.glob("*.py")
    assert {path.name for path in commands if "Config.load(" in path.read_text()} == {
        "config_file.py"
    }


def test_python_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    import img2loc

    Path("img2loc.toml").write_text('[ask]\nlocator = "x"')
    img2loc.load("retrieval")
    assert capsys.readouterr() == ("", "")


def test_a_gallery_or_folder_that_lies_here_does_not_take_a_known_name(gallery: Gallery) -> None:
    shutil.copytree(gallery.folder, "starter")
    shutil.copytree(gallery.folder, "mp16")
    assert len(galleries.open_gallery(Config.load(), "auto")) != len(gallery)
    assert len(galleries.open_gallery(Config.load(), "./starter")) == len(gallery)
    with pytest.raises(GalleryError, match=r"not built yet.* here is \./mp16\."):
        galleries.open_gallery(Config.load(), "mp16")
    assert len(galleries.open_gallery(Config.load(), "./mp16")) == len(gallery)
    assert recipes.find("mp16").path is None
    assert recipes.find("./mp16").path == Path("mp16")


def test_a_gallery_names_our_own_kinds_of_encoder_only(gallery: Gallery) -> None:
    for table in (
        {"kind": "subprocess:Popen", "args": ["touch", str(TOUCHED)]},
        {"kind": "tests.cli.test_untrusted_folder:Beacon"},
    ):
        manifest = json.loads((gallery.folder / "manifest.json").read_text())
        manifest["encoder"]["table"] = table
        (gallery.folder / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ConfigError, match="was built by the class"):
            factory.encoder_of(Config.load(), Gallery.open(gallery.folder))
    assert not TOUCHED.exists()


def test_no_code_of_a_models_folder_runs_even_if_the_user_says_yes(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.Theirs"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "theirs.py").write_text(
        f"open({str(TOUCHED.resolve())!r}, 'w')\nclass Theirs: pass\n"
    )
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(MissingWeights):
        TransformersClip(str(folder))
    assert not TOUCHED.exists()
