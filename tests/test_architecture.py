"""The layers of the design: imports point down only, modules stay small, and the public surface is what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import img2loc

PACKAGE = Path(img2loc.__file__).parent
LAYERS = [
    {
        "types",
        "errors",
        "assets",
        "geo",
        "images",
        "hub",
        "manifest",
        "places",
        "devices",
        "normalise",
        "vectors",
        "rows",
        "tables",
        "identity",
        "parquet",
        "volumes",
        "archives",
        "stores",
        "sketch",
        "protocols",
        "ends",
        "clusters",
        "memory",
        "inverted",
        "writing",
    },
    {"angles"},
    {
        "config",
        "sources",
        "pairs",
        "mixture",
        "captions",
        "recipes",
        "gallery",
        "prompts",
        "parse",
        "tuning",
        "verification",
    },
    {"retriever"},
    {"encoders", "lmm", "locators"},
    {"making"},
    {"galleries"},
    {"build"},
    {
        "claims",
        "shards",
        "indexing",
        "merging",
        "growing",
        "importing",
        "exporting",
        "embedding",
        "training",
        "bench",
        "readiness",
        "api",
    },
    {"diagnosis"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports at run time."""
    found = set()
    tree = ast.parse(path.read_text())
    typing_only = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    skipped = {id(inner) for node in typing_only for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.ImportFrom):
            continue
        if node.module == "img2loc":
            found |= {alias.name for alias in node.names}
        elif node.module and node.module.startswith("img2loc."):
            found.add(node.module.split(".")[1])
    return found


def test_imports_point_down() -> None:
    wrong = []
    for path in modules():
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        for target in imports(path) & set(LEVEL):
            same_package = target == layer
            if LEVEL[target] > LEVEL[layer] or (LEVEL[target] == LEVEL[layer] >= 3 and not same_package and LEVEL[layer] != 8):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {target}")
    assert wrong == []


def test_every_module_has_a_layer() -> None:
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} - {"__init__"}
    assert names <= set(LEVEL)


def test_no_module_is_over_300_lines() -> None:
    index = sorted((Path(__file__).parents[1] / "index").rglob("*.py"))
    assert index
    assert {path.name: lines for path in [*modules(), *index] if (lines := len(path.read_text().splitlines())) > 300} == {}


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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    heavy = ["torch", "faiss", "transformers", "openai", "numpy", "scipy", "pyarrow", "pydantic", "open_clip", "timm"]
    script = (
        "import sys; sys.argv = ['img2loc', '--help']\n"
        "from img2loc.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]"), done.stdout
