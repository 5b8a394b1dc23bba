"""The shape of the house: imports point left and never in a circle, modules stay small, the public surface is what it says."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

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
    "cli",
]
"""A package imports only from packages to its left (design: the order of the paper's figure, then the tool)."""


def modules() -> dict[str, Path]:
    """Every file by its dotted name below img2loc; a package's own file by the package's name."""
    files = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {
        ".".join(name.parts).removesuffix(".__init__"): path for name, path in sorted(files.items())
    }


def imports(path: Path) -> set[str]:
    """The files of ours that a file imports anywhere in it, also inside functions and for type checkers only."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= submodules & set(FILES) or {node.module}
    return {name.removeprefix("img2loc.") for name in imported if name in FILES}


FILES = {
    f"img2loc.{name}": path
    for name, path in modules().items()
    if name not in ("__init__", "__main__")
}
GRAPH = {name.removeprefix("img2loc."): imports(path) for name, path in FILES.items()}


def package(module: str) -> str:
    return module.partition(".")[0]


def test_the_graph_sees_the_imports() -> None:
    assert {"core.types", "gallery.retriever"} <= GRAPH["locators.img2loc"]
    assert len(GRAPH) > 100
    assert sum(map(len, GRAPH.values())) > 400


def test_a_package_imports_only_from_packages_to_its_left() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if package(target) != package(module)
        and ORDER.index(package(target)) > ORDER.index(package(module))
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_floors_and_entries() -> None:
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries <= {*ORDER, "__init__.py", "__main__.py", "py.typed", "_assets"}
    assert len(entries) <= 16
    floors: dict[str, int] = {}
    for name in ORDER:
        below = [
            floors[package(target)]
            for module in GRAPH
            if package(module) == name
            for target in GRAPH[module]
            if package(target) != name
        ]
        floors[name] = 1 + max(below, default=0)
    assert max(floors.values()) <= 8, floors


def test_no_module_is_over_300_lines() -> None:
    index = sorted((Path(__file__).parents[1] / "index").rglob("*.py"))
    assert index
    assert {
        str(path): lines
        for path in [*modules().values(), *index]
        if (lines := len(path.read_text().splitlines())) > 300
    } == {}


def test_public_names_are_those_of_all() -> None:
    assert sorted(img2loc.__all__) == sorted(img2loc._HOMES)
    for name in img2loc.__all__:
        assert getattr(img2loc, name) is not None


def test_importing_costs_nothing_heavy() -> None:
    heavy = [
        "torch",
        "faiss",
        "transformers",
        "openai",
        "numpy",
        "scipy",
        "pyarrow",
        "pydantic",
        "PIL",
        "open_clip",
        "timm",
        "rich",
    ]
    script = f"import img2loc, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    heavy = [
        "torch",
        "faiss",
        "transformers",
        "openai",
        "numpy",
        "scipy",
        "pyarrow",
        "pydantic",
        "open_clip",
        "timm",
    ]
    script = (
        "import sys; sys.argv = ['img2loc', '--help']\n"
        "from img2loc.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]"), done.stdout
