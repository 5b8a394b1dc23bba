"""Weights in a hub's cache, whole and after an interrupted download, with a hub on loopback."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.constants import HF_HUB_CACHE
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from img2loc.config import factory, requirements
from img2loc.config.config import Config
from img2loc.config.plan import plan_lmm
from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.core.hub import folder_or_hub
from img2loc.lmm.llava import Llava

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = "model.safetensors.index.json"
FILES = {
    "config.json": b"{}",
    INDEX: (
        json.dumps(
            {"weight_map": {f"layer.{at}": shard for at, shard in enumerate(SHARDS)}}
        ).encode()
    ),
    **{shard: shard.encode() for shard in SHARDS},
}


def snapshot(cache: Path, repo: str, names: list[str]) -> Path:
    """A repository in the cache as a hub's client leaves it, with these of its files alone."""
    home = cache / f"models--{repo.replace('/', '--')}"
    folder = home / "snapshots" / COMMIT
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs/main").write_text(COMMIT)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(FILES[name])
    return folder


def llava(repo: str) -> Config:
    Path("llava.toml").write_text(f'[lmm.big]\nkind = "llava"\nmodel = "{repo}"')
    return Config.load(Path("llava.toml"))


def test_a_folder_of_a_models_name_in_the_working_directory_is_not_the_model() -> None:
    Path("org/model").mkdir(parents=True)
    files = folder_or_hub("org/model", ("w",), ())
    assert files is not None
    assert files.repo == "org/model"
    assert folder_or_hub("./org/model", ("w",), ()) is None
    assert folder_or_hub(str(Path("org/model").resolve()), ("w",), ()) is None
    with pytest.raises(ConfigError, match=r"Write the folder as \./org\."):
        folder_or_hub("org", ("w",), ())


def test_an_index_without_its_shards_is_not_the_weights() -> None:
    files = Llava.needs("org/three-shards")
    assert files is not None
    folder = snapshot(Path(HF_HUB_CACHE), "org/three-shards", ["config.json", INDEX, SHARDS[0]])
    assert files.cached() is None
    snapshot(Path(HF_HUB_CACHE), "org/three-shards", SHARDS)
    assert files.cached() == folder / INDEX
    for damaged in ("{", "[]", '{"weight_map": {"layer": 3}}'):
        (folder / INDEX).write_text(damaged)
        assert files.cached() is None


def test_a_download_that_was_cut_off_is_not_ready() -> None:
    snapshot(Path(HF_HUB_CACHE), "org/cut-off", ["config.json", INDEX, SHARDS[0]])
    config = llava("org/cut-off")
    (need,) = requirements.setup_needs(config, "big")
    assert (need.ready, need.remedy) == (False, "img2loc setup big")
    with pytest.raises(MissingWeights, match=r"only in part\. Get them: img2loc setup big\."):
        factory.lmm(plan_lmm(config, "big"))


def test_weights_that_cannot_be_loaded_are_fetched_again() -> None:
    """They are all there, so `setup` would not fetch them."""
    snapshot(Path(HF_HUB_CACHE), "org/damaged", list(FILES))
    with pytest.raises(
        MissingWeights,
        match=r"cannot load .*\. Get the files again: hf download org/damaged --force-download\.",
    ):
        factory.lmm(plan_lmm(llava("org/damaged"), "big"))


def test_setup_goes_on_where_a_download_was_cut_off(httpserver: HTTPServer, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Response:
        if request.path in ("/api/models/org/resumed", "/api/models/org/resumed/revision/main"):
            siblings = [
                {"rfilename": name, "size": len(content)} for name, content in FILES.items()
            ]
            return Response(
                json.dumps({"id": "org/resumed", "sha": COMMIT, "siblings": siblings}),
                content_type="application/json",
            )
        name = request.path.rpartition("/")[2]
        if request.path.startswith("/api/models/org/resumed/tree"):
            files = [
                {"type": "file", "path": name, "size": len(content), "oid": COMMIT}
                for name, content in FILES.items()
            ]
            return Response(json.dumps(files), content_type="application/json")
        if name not in FILES:
            return Response(status=404)
        if request.method == "GET":
            asked.append(name)
        headers = {"ETag": f'"{hashlib.sha1(FILES[name]).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return Response(FILES[name], headers=headers)

    httpserver.expect_request(re.compile("/.*")).respond_with_handler(answer)
    folder = snapshot(tmp_path / "hub", "org/resumed", ["config.json", INDEX, SHARDS[0]])
    llava("org/resumed")
    here = {
        "HF_ENDPOINT": httpserver.url_for("").rstrip("/"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "img2loc", "setup", "big", "--yes", "--config", "llava.toml"],
        env={**os.environ, **here, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(asked) == SHARDS[1:]
    assert all((folder / shard).read_bytes() == FILES[shard] for shard in SHARDS)
