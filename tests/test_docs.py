"""The documentation's examples run, and its links lead somewhere.

Every fenced `python`, `sh` and `console` block of a page runs, in order, in one folder with
photographs in it. A block is passed over where its info string says `no-run` (it needs weights, a
key or a download). A block of any language whose first line is a comment with a file's name (`#
my.toml`) is saved under that name instead, for the blocks after it.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Cli, picture

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "*/README.md", "index/places/README.md")
    for path in ROOT.glob(pattern)
    if not path.parent.name.startswith(".")
)
_FENCE = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.\w+)(?:[,:].*)?$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_RUN = ("python", "sh", "console")


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    line: int
    text: str

    @property
    def file(self) -> str | None:
        """The name that the block is saved under, if its first line is one."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match[1] if match else None


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are run or saved."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        indent, language, info, content = match.groups()
        block = Block(
            language,
            text.count("\n", 0, match.start()) + 1,
            re.sub(f"^{indent}", "", content, flags=re.MULTILINE),
        )
        if "no-run" not in info and (block.file or language in _RUN):
            yield block


RUNNABLE = [page for page in PAGES if any(blocks(page))]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples are about: photographs with and without a place, and tables of them."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("photo.jpg", "holiday.jpg", "a.jpg", "b.jpg")):
        picture(seed).save(folder / name)
    for table, numbers in (
        ("photos.csv", range(6)),
        ("more.csv", range(6, 8)),
        ("queries.csv", range(3)),
    ):
        rows = ["file,lat,lon,author,label"]
        for number in numbers:
            photo = folder / "photos" / f"{table.removesuffix('.csv')}-{number}.jpg"
            photo.parent.mkdir(exist_ok=True)
            picture(number).save(photo, quality=95 if table != "queries.csv" else 60)
            rows.append(
                f"photos/{photo.name},{20 + number},{2 * number},author{number},place {number}"
            )
        (folder / table).write_text("\n".join(rows))
    (folder / "points.csv").write_text(
        "lat,lon\n" + "\n".join(f"{10 * n},{15 * n}" for n in range(8))
    )
    (folder / "truth.csv").write_text("id,lat,lon\na,48.8584,2.2945\nb,-13.1631,-72.5450\n")
    (folder / "predictions.csv").write_text("id,lat,lon\na,48.9,2.3\nb,,\n")
    (folder / "Pictures").mkdir()
    for number in range(3):
        exif = Image.Exif()
        exif[0x8825] = {1: "N", 2: (40.0 + number, 30.0, 0.0), 3: "E", 4: (2.0 * number, 0.0, 0.0)}
        picture(20 + number).save(folder / "Pictures" / f"{number}.jpg", exif=exif)
    return folder


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_run(
    page: Path, inputs: Path, run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(inputs, ".", dirs_exist_ok=True)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    names: dict[str, object] = {"__name__": "__example__"}
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
            if block.file.endswith(".toml"):
                code, _, err = run("config", "show", "--config", block.file)
                assert code == 0, f"{page.name}, line {block.line}: {err}"
        elif block.language == "python":
            exec(compile(block.text, f"{page.name}, line {block.line}", "exec"), names)
        else:
            for command in commands(block):
                execute(command, run, f"{page.name}, line {block.line}: {command}")


def commands(block: Block) -> Iterator[str]:
    """The command lines of a block; of a console, those after its prompt."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language == "sh" and line.strip():
            yield line
        elif block.language == "console" and line.startswith("$ "):
            yield line.removeprefix("$ ")


def execute(command: str, run: Cli, where: str) -> None:
    """Run a command of ours in this process; its output may go to a file."""
    words = shlex.split(command, comments=True)
    if not words:
        return
    redirect = words[words.index(">") + 1] if ">" in words else None
    if redirect:
        words = words[: words.index(">")]
    assert words[0] == "img2loc", f"{where}: the tests run no other program; mark the block no-run"
    code, out, err = run(*words[1:])
    assert code == 0, f"{where}: exit code {code}: {err}"
    if redirect:
        Path(redirect).write_text(out, encoding="utf-8")


def test_at_least_a_dozen_examples_run() -> None:
    assert sum(not block.file for page in RUNNABLE for block in blocks(page)) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files of the project exist, and headings too where a link names one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in _LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, heading = link.partition("#")
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {link}"
        assert not heading or heading in anchors(file), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
