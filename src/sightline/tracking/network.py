"""Whether a tracker's server can be reached, asked before anything waits for it."""

from __future__ import annotations

import netrc
import urllib.error
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

WANDB_HOME = "https://api.wandb.ai"
PROBE_SECONDS = 5.0


def answers(url: str, *, seconds: float = PROBE_SECONDS) -> bool:
    """Whether an HTTP server answers at the address in time, with whatever status.

    A port that accepts and then says nothing does not. Proxies of the environment are used.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def wandb_server(environment: Mapping[str, str]) -> str:
    """The address of the W&B server."""
    return environment.get("WANDB_BASE_URL", WANDB_HOME).rstrip("/")


def has_wandb_key(environment: Mapping[str, str]) -> bool:
    """Whether there is something to log in with: a variable, or the server's entry in netrc."""
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(wandb_server(environment)).hostname or ""
    try:
        return netrc.netrc(environment.get("NETRC") or None).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
