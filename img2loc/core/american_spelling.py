"""Keys in British spelling, in users' files and earlier versions' → the American keys of today."""

from typing import Any

_AMERICAN = {"licence": "license", "licences": "licenses", "optimiser": "optimizer"}


def american(content: Any) -> Any:
    """A file's content with its keys, in nested tables too, in American spelling."""
    if type(content) is dict:
        return {_AMERICAN.get(key, key): american(value) for key, value in content.items()}
    return [american(value) for value in content] if type(content) is list else content
