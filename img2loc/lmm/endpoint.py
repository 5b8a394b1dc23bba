"""Whether an address is on this machine."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(address: str) -> bool:
    """Whether a URL's host is the loopback: `localhost`, 127.0.0.0/8 or ::1. A name that might resolve elsewhere is not."""
    try:
        host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
