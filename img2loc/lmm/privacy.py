"""Where an LMM's requests go: loopback or not, and which of OpenAI's settings stay behind."""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def is_loopback(address: str) -> bool:
    """Whether a URL's host is `localhost`, 127.0.0.0/8 or ::1; other names may lead elsewhere."""
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def keep_only_the_key(client: Any, given: Mapping[str, Any]) -> None:
    """Remove OpenAI's organization, project and headers of the environment from a client.

    For a client of another server; what is `given` in that server's own table stays.
    """
    client.organization, client.project = given.get("organization"), None
    # From OPENAI_CUSTOM_HEADERS; there is no public way.
    client._custom_headers = dict(given.get("default_headers", {}))
