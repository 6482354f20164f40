"""Clients of servers on loopback."""

import ssl
from collections.abc import Mapping

import httpx2

# Loading the authorities that a context believes takes up to 50 ms, and nearly every test has a client of its own.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client(base_url: str = "", *, headers: Mapping[str, str] | None = None, timeout: float = 5) -> httpx2.AsyncClient:
    """Return a client that speaks plain HTTP only, past the proxies of the environment; `timeout` in seconds."""
    return httpx2.AsyncClient(
        base_url=base_url, headers=headers, timeout=timeout, verify=_NO_AUTHORITIES, trust_env=False
    )
