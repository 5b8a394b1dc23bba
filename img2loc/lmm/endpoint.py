"""An address: whether it is on this machine, and what of the environment is not meant for it."""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def is_loopback(address: str) -> bool:
    """Whether a URL's host is the loopback:

    `localhost`, 127.0.0.0/8 or ::1. A name that might resolve elsewhere is not.
    """
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keep_only_the_key(client: Any, given: Mapping[str, Any]) -> None:
    """Take from a client of another server what the environment holds for OpenAI: organization, project, headers.

    What is `given` in the server's own table stays.
    """
    client.organization, client.project = given.get("organization"), None
    client._custom_headers = dict(
        given.get("default_headers", {})
    )  # From OPENAI_CUSTOM_HEADERS; there is no public way.
