"""The rule of imports, no circles, small modules, and an `import img2loc` that costs little."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import img2loc

PACKAGE = Path(img2loc.__file__).parent
ORDER = [
    "core",
    "data",
    "encoders",
    "gallery",
    "lmm",
    "locators",
    "training",
    "config",
    "bench",
    "outputs",
    "cluster",
    "web",
    "img2loc",  # The public names in `img2loc/__init__.py`.
    "cli",
    "__main__",
]
"""A package imports only from packages to its left: the order of the paper's figure, then tools."""


def modules() -> dict[str, Path]:
    """Every file by its dotted name: "core.types", "gallery.build", and "img2loc" for the root."""
    names = {
        path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")
    }
    return {
        ".".join(name[:-1] if name[-1] == "__init__" else name) or "img2loc": path
        for path, name in sorted(names.items())
    }


def imports(path: Path) -> set[str]:
    """Our modules that a file imports, also inside functions and for type checkers only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in submodules if name.removeprefix("img2loc.") in FILES} or {
                str(node.module)
            }
    ours = {name.removeprefix("img2loc.") for name in names if name.startswith("img2loc")}
    assert ours <= set(FILES), f"{path} imports what is not there: {ours - set(FILES)}"
    return ours


FILES = modules()
GRAPH = {name: imports(path) for name, path in FILES.items()}


def package(module: str) -> str:
    return module.partition(".")[0]


def test_the_graph_sees_the_imports() -> None:
    assert {"core.types", "gallery.neighbours"} <= GRAPH["locators.img2loc"]
    assert {"config.api", "gallery.gallery"} <= GRAPH["img2loc"]  # Only for type checkers.
    assert GRAPH["__main__"] == {"cli"}
    assert len(GRAPH) > 100
    assert sum(map(len, GRAPH.values())) > 400


def test_a_package_imports_only_from_packages_to_its_left() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if ORDER.index(package(target)) > ORDER.index(package(module))
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_at_most_16_entries_in_the_package() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries <= {*ORDER, "__init__.py", "__main__.py", "py.typed", "_assets"}
    assert len(entries) <= 16


def test_at_most_8_floors_of_packages() -> None:
    """A package that imports no other is on floor 1, one that imports it on floor 2."""
    floors: dict[str, int] = {}
    for name in filter(lambda name: (PACKAGE / name).is_dir(), ORDER):
        below = {
            package(target)
            for module, targets in GRAPH.items()
            if package(module) == name
            for target in targets
        } & set(floors)
        floors[name] = 1 + max((floors[other] for other in below), default=0)
    assert max(floors.values()) <= 8, floors


def test_no_module_is_over_300_lines() -> None:
    index = sorted((Path(__file__).parents[1] / "index").rglob("*.py"))
    assert index
    lengths = {str(path): len(path.read_text().splitlines()) for path in [*FILES.values(), *index]}
    assert {path: lines for path, lines in lengths.items() if lines > 300} == {}


def test_public_names_are_those_of_all() -> None:
    assert sorted(img2loc.__all__) == sorted(img2loc._HOMES)
    for name in img2loc.__all__:
        assert getattr(img2loc, name) is not None


HEAVY = ["torch", "faiss", "transformers", "openai", "numpy", "scipy", "pyarrow", "pydantic"]
MODELS = ["torch", "torchvision", "timm", "transformers", "open_clip", "geoclip", "langchain"]
UNUSED = [
    *MODELS,
    "scipy",
    "openai",
    "huggingface_hub",
    "matplotlib",
    "jinja2",
    "sklearn",
    "pandas",
]
DEMO = Path(__file__).parents[1] / "docs" / "demo" / "red-pyramid.jpg"


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        ((), [*HEAVY, "PIL", "rich"]),  # `import img2loc` alone.
        (("--help",), [*HEAVY, *UNUSED, "PIL", "onnxruntime"]),
        (("ask", DEMO, "--locator", "retrieval", "--gallery", "starter"), UNUSED),
        (
            ("ask", DEMO, "--locator", "zeroshot", "--lmm", "scripted"),
            [*UNUSED, "faiss", "onnxruntime"],
        ),
        (
            ("bench", "score", "--predictions", "p.csv", "--truth", "t.csv"),
            [*UNUSED, "faiss", "onnxruntime"],
        ),
    ],
    ids=["import", "help", "ask", "ask-lmm", "score"],
)
def test_what_is_not_imported(words: tuple[object, ...], absent: list[str]) -> None:
    Path("p.csv").write_text("id,lat,lon\na,48.9,2.3\n")
    Path("t.csv").write_text("id,lat,lon\na,48.8584,2.2945\n")
    script = f"""import sys
import img2loc
sys.argv = {["img2loc", *map(str, words)]}
if sys.argv[1:]:
    from img2loc.cli import main
    try: main()
    except SystemExit as ended: assert not ended.code, ended.code
print([name for name in {absent} if name in sys.modules])"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
