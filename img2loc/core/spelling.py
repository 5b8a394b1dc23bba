"""British keys in users' files, and in files of earlier versions → the American ones that the code has."""

from typing import Any

_AMERICAN = {"licence": "license", "licences": "licenses", "optimiser": "optimizer"}


def american(content: Any) -> Any:
    """The content of a TOML or JSON file with its keys in American spelling, in tables within it too."""
    if type(content) is dict:
        return {_AMERICAN.get(key, key): american(value) for key, value in content.items()}
    return [american(value) for value in content] if type(content) is list else content
