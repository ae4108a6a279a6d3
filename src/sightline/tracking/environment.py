"""The variables of a tracker: those of the process, those of a .env file, and keeping them out."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_SECRET = re.compile(r"KEY|TOKEN|PASSW|SECRET|CREDENTIAL", re.IGNORECASE)
_USER = re.compile(r"//[^/@\s]+@")
_SHORTEST = 6
"""A shorter secret would black out ordinary words."""


def parse_env(text: str) -> dict[str, str]:
    """The variables of a .env file: NAME=VALUE lines, quoted or not; anything else is passed over.

    >>> parse_env("# mine" + chr(10) + "export WANDB_PROJECT='a b'" + chr(10) + "X=1 # one")
    {'WANDB_PROJECT': 'a b', 'X': '1'}
    """
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    return {found[1]: _value(found[2]) for found in matches if found}


def add_env_file(environment: MutableMapping[str, str], folder: Path) -> None:
    """Add the variables of the folder's .env file, if there is one; what is set stays as it is."""
    try:
        text = (folder / ".env").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for name, value in parse_env(text).items():
        environment.setdefault(name, value)


def without_secrets(text: str, environment: Mapping[str, str]) -> str:
    """The text with every secret of the environment, and every user in an address, blacked out.

    >>> without_secrets("no: abcdefgh at //me:pw@host", {"WANDB_API_KEY": "abcdefgh"})
    'no: *** at //***@host'
    """
    secrets = [value for name, value in environment.items() if _SECRET.search(name)]
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "***")
    return _USER.sub("//***@", text)


def _value(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text.split(" #")[0].rstrip()
