"""Tables laid over tables, each key with its origin; and what build makes of them."""

import re
from pathlib import Path

import pytest

from img2loc.config import factory, galleries, registry
from img2loc.config.config import Config
from img2loc.config.plan import Plan, plan_lmm
from img2loc.core.errors import (
    ConfigError,
    GalleryError,
    Img2LocError,
    MissingPackage,
    MissingWeights,
    UnknownName,
)
from img2loc.lmm.scripted import Scripted
from tests.conftest import configure


def config(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "c.toml"
    path.write_text(text)
    return Config.load(path)


def test_the_tables_that_must_exist() -> None:
    settings = Config.load()
    assert settings.table("encoder", "lite0") == {"kind": "lite0"}
    assert settings.table("lmm", "gpt")["kind"] == "openai"
    for name in ("img2loc", "zeroshot", "retrieval"):
        assert settings.table("locator", name)["kind"] == name
    assert (
        settings.table("locator", "img2loc")["nearest"]
        == settings.table("locator", "img2loc")["farthest"]
        == 16
    )
    registry.check(settings)


def test_the_users_keys_lie_over_the_defaults(tmp_path: Path) -> None:
    settings = config(
        tmp_path, '[lmm.gpt]\nmodel = "gpt-5"\n[lmm.mine]\nkind = "scripted"\nreplies = ["1, 2"]'
    )
    assert settings.table("lmm", "gpt") == {"kind": "openai", "model": "gpt-5"}
    assert settings.origin("lmm", "gpt", "model").endswith("c.toml")
    assert settings.origin("lmm", "gpt", "kind") == "defaults"
    assert settings.user_tables() == [("lmm", "gpt"), ("lmm", "mine")]
    assert isinstance(factory.lmm(plan_lmm(settings, "mine")), Scripted)


def test_another_kind_leaves_the_old_keys_behind(tmp_path: Path) -> None:
    settings = config(tmp_path, '[lmm.gpt]\nkind = "scripted"\nreplies = ["1, 2"]')
    assert settings.table("lmm", "gpt") == {"kind": "scripted", "replies": ["1, 2"]}


def test_which_file_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[ask]\nlocator = "{}"'
    Path("img2loc.toml").write_text(text.format("of-a-stranger"))
    assert (Config.load().ask, Config.load().file) == ({"locator": "auto"}, None)
    own = configure(text.format("own"))
    assert (Config.load().ask, Config.load().file) == ({"locator": "own"}, own)
    (tmp_path / "named.toml").write_text(text.format("named"))
    monkeypatch.setenv("IMG2LOC_CONFIG", str(tmp_path / "named.toml"))
    assert Config.load().ask == {"locator": "named"}
    assert config(tmp_path, text.format("given")).ask == {"locator": "given"}
    monkeypatch.setenv("IMG2LOC_CONFIG", "absent.toml")
    with pytest.raises(
        ConfigError,
        match=r"no configuration file absent.toml. Create it, or name another by --config",
    ):
        Config.load()


def test_paths_in_the_users_file_are_beside_it_and_not_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(
        '[gallery.mine]\npath = "g"\n[gallery.more]\nrecipe = "more.toml"\n'
        '[lmm.replay]\nrun = "r"\n'
        '[locator.zeroshot]\nprompt = "words.txt"\n[locator.img2loc]\ngallery = "sub/g"\n'
        '[encoder.a]\nkind = "timm"\nmodel = "local-dir:vit"\nweights = "/data/vit.pth"\n'
        '[encoder.b]\nkind = "transformers"\nmodel = "./openai/clip"\n'
        '[encoder.c]\nkind = "transformers"\nmodel = "openai/clip"\n'
    )
    settings = Config.load()
    assert settings.file is not None
    home = settings.file.parent
    for role, name, key, value in [
        ("gallery", "mine", "path", f"{home}/g"),
        ("gallery", "more", "recipe", f"{home}/more.toml"),
        ("lmm", "replay", "run", f"{home}/r"),
        ("locator", "zeroshot", "prompt", f"{home}/words.txt"),
        ("locator", "img2loc", "gallery", f"{home}/sub/g"),
        ("locator", "img2loc", "prompt", "nearest-farthest"),
        ("encoder", "a", "model", f"local-dir:{home}/vit"),
        ("encoder", "a", "weights", "/data/vit.pth"),
        ("encoder", "b", "model", f"{home}/openai/clip"),
        ("encoder", "c", "model", "openai/clip"),
    ]:
        assert settings.table(role, name)[key] == value
    Path("words.txt").write_text("a stranger's words")
    with pytest.raises(UnknownName, match=r"words.txt"):
        Plan(settings, "zeroshot").prompts  # noqa: B018 - raises
    (home / "words.txt").write_text("Where is it?")
    assert Plan(settings, "zeroshot").prompts["prompt"].text == "Where is it?"
    Path("here.toml").write_text('[locator.zeroshot]\nprompt = "words.txt"\n')
    here = Plan(Config.load(Path("here.toml")), "zeroshot").prompts["prompt"]
    assert here.text == "a stranger's words"


def test_without_a_home_the_working_directory_is_no_configuration_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for folder in ("~/.config/img2loc", ".config/img2loc", "img2loc"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "img2loc.toml").write_text('[ask]\nlocator = "of-a-stranger"')
    assert Config.load().file is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[locator.img2loc]\nneerest = 3",
            r"\[locator.img2loc\] has no key 'neerest'. Known: kind, .*nearest, farthest",
        ),
        ("[locator.retrieval]\nnearest = '16'", r"\[locator.retrieval\] nearest = '16'"),
        ("[locator.retrieval]\ndecide = 'best'", r"decide = 'best'"),
        (
            "[encoder.lite0]\nbatchsize = 3",
            r"no key 'batchsize'. Known: kind, device, batch_size",
        ),
        (
            "[encoder.mine]\nkind = 'nonsense'",
            r"unknown kind 'nonsense'. Known: geoclip, lite0, onnx, open_clip",
        ),
        ("[encoder.mine]\nmodel = 'x'", r"has no kind"),
        ("[lmms.gpt]\nmodel = 'x'", r"no role \[lmms\]"),
        ("[lmm]\ngpt = 'x'", r"must hold named tables"),
        ("[ask]\nmodel = 'x'", r"\[ask\] has no key model"),
        ("nonsense", r"is not TOML"),
        ("[gallery.x]\npaht = 'x'", r"no key 'paht'. Known: encoder, path, recipe"),
        ("[price.x]\nin = 1.0", r"no key 'in'. Known: input, output"),
        ("[lmm.mine]\nkind = 'openai'\nmodel = 3", r"model = 3"),
    ],
)
def test_mistakes_name_the_table_and_the_known_keys(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.check(config(tmp_path, text))


def test_a_missing_configuration_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        Config.load(tmp_path / "absent.toml")


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(
        UnknownName,
        match=r"no locator named 'nonsense'. Known: agent, clip-hierarchy, clip-paper",
    ):
        Plan(Config.load(), "nonsense")
    with pytest.raises(GalleryError, match=r"no gallery named 'nonsense'. Known: starter"):
        galleries.open_gallery(Config.load(), "nonsense")


def test_missing_weights_say_which_how_large_and_how_to_get_them() -> None:
    with pytest.raises(MissingWeights) as caught:
        factory.encoder(Config.load(), "clip-l14")
    for words in (
        "[encoder.clip-l14]",
        "timm/vit_large_patch14_clip_224.openai",
        "1.7 GB",
        "MIT",
        "img2loc setup clip-l14",
    ):
        assert words in str(caught.value)


def test_an_lmm_whose_weights_are_missing_says_the_same() -> None:
    with pytest.raises(MissingWeights) as caught:
        factory.lmm(plan_lmm(Config.load(), "llava"))
    for words in ("[lmm.llava]", "llava-hf/llava-1.5-7b-hf", "14 GB", "img2loc setup llava"):
        assert words in str(caught.value)


def test_a_kind_that_is_no_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no class"):
        factory.encoder(config(tmp_path, '[encoder.x]\nkind = "os:environ"'), "x")


def test_a_third_partys_class_needs_no_registration(tmp_path: Path) -> None:
    settings = config(tmp_path, '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\nside = 4')
    assert factory.encoder(settings, "toy").name == "pixels/4"
    with pytest.raises(ConfigError, match=r"no key 'sides'. Known: kind, side"):
        factory.encoder(
            config(tmp_path, '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\nsides = 4'), "toy"
        )
    with pytest.raises(MissingPackage, match=r"needs absent, .* pip install absent"):
        factory.encoder(config(tmp_path, '[encoder.toy]\nkind = "absent:X"'), "toy")
    with pytest.raises(ConfigError, match="has no Nonsense"):
        factory.encoder(config(tmp_path, '[encoder.toy]\nkind = "tests.toys:Nonsense"'), "toy")


def test_command_line_options_only_where_they_apply() -> None:
    settings = Config.load()
    factory.override(settings, "img2loc", k=3)
    assert (
        settings.table("locator", "img2loc")["nearest"],
        settings.table("locator", "img2loc")["farthest"],
    ) == (3, 3)
    assert settings.origin("locator", "img2loc", "nearest") == "command line"
    factory.override(settings, "retrieval", k=3)
    assert settings.table("locator", "retrieval")["nearest"] == 3
    for name, option in (
        ("retrieval", {"lmm": "gpt"}),
        ("zeroshot", {"gallery": "starter"}),
        ("zeroshot", {"k": 3}),
    ):
        with pytest.raises(ConfigError, match=r"leave|does not apply"):
            factory.override(settings, name, **option)


def test_one_end_alone_keeps_k_to_itself(tmp_path: Path) -> None:
    settings = config(tmp_path, '[locator.img2loc]\nfarthest = 0\nprompt = "nearest"')
    factory.override(settings, "img2loc", k=3)
    assert settings.table("locator", "img2loc")["farthest"] == 0


def test_the_rule_of_a_plain_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert factory.default_locator(Config.load()) == "retrieval"
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert factory.default_locator(Config.load()) == "zeroshot"
    assert (
        factory.default_locator(Config.load(), gallery="starter")
        == factory.default_locator(Config.load(), k=3)
        == "img2loc"
    )
    monkeypatch.delenv("OPENAI_API_KEY")
    assert factory.default_locator(Config.load(), lmm="scripted") == "zeroshot"
    assert factory.default_locator(Config.load(), gallery="starter", lmm="scripted") == "img2loc"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert factory.default_locator(Config.load()) == "zeroshot"


def test_every_shipped_table_can_be_made_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    settings = Config.load()
    for name in settings.names("locator"):
        try:
            assert hasattr(factory.locator(Plan(settings, name)), "locate")
        except GalleryError as error:
            assert "is not built yet. Its weights" in str(error)
            assert f"img2loc setup {name}" in str(error)
        except MissingWeights as error:
            # The verifier of g3-paper, and the LMM of img2loc-paper-llava.
            assert re.search("img2loc setup (geoclip|llava)-paper", str(error))
    for name in settings.names("lmm"):
        try:
            factory.lmm(plan_lmm(settings, name))
        except Img2LocError as error:
            assert any(
                words in str(error)
                for words in ("pip install", "not on this machine", "img2loc ask")
            )
    for name in settings.names("encoder"):
        try:
            factory.encoder(settings, name)
        except Img2LocError as error:
            assert "img2loc setup " in str(error)
