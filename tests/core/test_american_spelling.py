"""What users wrote in British spelling for earlier versions is still read."""

from pathlib import Path

import pytest

from img2loc.config.config import Config
from img2loc.data import recipes
from img2loc.training import checkpoint
from tests.conftest import Cli


def test_a_recipes_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[[source]]\npath = "x.csv"\nlicences = ["CC0"]\ncolumns = {licence = "l"}\n')
    (source,) = recipes.find(str(path)).sources
    assert (source.licenses, source.columns) == (("CC0",), {"license": "l"})


def test_keys_of_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[train.geoclip]\noptimiser = "adamw"\n[download."a/b"]\nlicence = "MIT"\n'
        '[lmm.mine]\nkind = "a.b:C"\nlicence = "its own"\n'
    )
    config = Config.load(path)
    assert config.table("train", "geoclip")["optimizer"] == "adamw"
    assert config.table("download", "a/b") == {"license": "MIT"}
    assert config.table("lmm", "mine") == {"kind": "a.b:C", "licence": "its own"}


def test_the_plan_and_the_state_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"optimiser": "adam"}, {"optimiser": {"state": {0: 1}}})
    assert checkpoint.resume(tmp_path, {"optimizer": "adam"}) == {"optimizer": {"state": {0: 1}}}


@pytest.mark.parametrize("option", ["--licence", "--license"])
def test_options_of_the_command_line(tmp_path: Path, run: Cli, option: str) -> None:
    (tmp_path / "x.csv").write_text("file,lat,lon\na.jpg,1,2\n")
    code, _, error = run("index", "build", tmp_path / "x.csv", "--out", "g", option, "CC0")
    assert (code, "x.csv has no license column" in error) == (1, True)
    words = ("train", "geoclip", tmp_path / "x.csv", "--out", "m", "--set", 'optimiser="sgd"')
    assert "optimizer = 'sgd'" in run(*words)[2]
