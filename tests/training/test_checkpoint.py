"""Checkpoints: whole or absent, of one plan, of one process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from img2loc.core.errors import ConfigError
from img2loc.training import checkpoint

PLAN = {"lr": 1e-6, "templates": ("a", "b"), "data": "abc"}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    assert checkpoint.resume(tmp_path, PLAN) is None
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpoint.save(
        tmp_path,
        PLAN,
        {"epoch": 2, "model": network.state_dict(), "optimizer": optimizer.state_dict()},
    )
    state = checkpoint.resume(tmp_path, PLAN)
    assert state is not None
    assert state["epoch"] == 2
    assert all(
        torch.equal(value, state["model"][key]) for key, value in network.state_dict().items()
    )
    torch.optim.AdamW(torch.nn.Linear(3, 2).parameters()).load_state_dict(state["optimizer"])
    assert [file.name for file in tmp_path.glob("training*")] == [checkpoint.CHECKPOINT]


def test_another_plan_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, PLAN, {"epoch": 1})
    with pytest.raises(
        ConfigError, match=r"lr is 1e-06 there and 0\.1 now; seed is not set there and 3 now"
    ) as raised:
        checkpoint.resume(tmp_path, {**PLAN, "lr": 0.1, "seed": 3})
    assert "data" not in str(raised.value)


def test_a_damaged_or_foreign_file_is_said_and_nothing_in_it_is_run(tmp_path: Path) -> None:
    file = tmp_path / checkpoint.CHECKPOINT
    file.write_bytes(b"torn")
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoint.resume(tmp_path, PLAN)
    torch.save({"plan": PLAN, "state": Path("an object, which is code")}, file)
    with pytest.raises(ConfigError, match="cannot be read"):
        checkpoint.resume(tmp_path, PLAN)


def test_a_save_that_fails_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, PLAN, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(tmp_path, PLAN, {"epoch": lambda: 2})
    assert checkpoint.resume(tmp_path, PLAN) == {"epoch": 1}


def test_one_process_a_folder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from img2loc.training import checkpoint\n"
        "with checkpoint.claimed(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "held"
        with (
            pytest.raises(ConfigError, match="Another process is writing the model"),
            checkpoint.claimed(tmp_path / "run"),
        ):
            pass
        other.kill()
    with checkpoint.claimed(tmp_path / "run"):
        (tmp_path / "run" / "free").touch()
    assert (tmp_path / "run" / "free").exists()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "pytorch_model.bin", "head_weights.pth"]
)
def test_a_folder_with_a_model_of_others_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).touch()
    with (
        pytest.raises(ConfigError, match="holds a model that no training here has made"),
        checkpoint.claimed(folder),
    ):
        pass
    assert [path.name for path in folder.iterdir()] == [name]
    checkpoint.save(folder, PLAN, {})
    with checkpoint.claimed(folder):
        pass
    with pytest.raises(ConfigError, match="starts from"), checkpoint.claimed(folder, str(folder)):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        checkpoint.claimed(tmp_path / "file" / "run"),
    ):
        pass


def test_history_is_one_line_an_epoch(tmp_path: Path) -> None:
    epochs = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5}]
    checkpoint.write_history(tmp_path, epochs)
    lines = (tmp_path / checkpoint.HISTORY).read_text().splitlines()
    assert [json.loads(line) for line in lines] == epochs
