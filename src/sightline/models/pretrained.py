"""Published weights of a timm model: from the local cache or the network, or an error at once."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sightline.errors import ConfigError

_PROBE_SECONDS = 3.0
_REMEDY = "set model.weights=FILE to a local weights file, or model.pretrained=false"


def pretrained_file(name: str) -> Path:
    """The local file with the weights timm publishes for a model, downloaded when not yet cached.

    Raises ConfigError when there are none, or when they are not cached and their host does not
    answer within three seconds (timm itself would try for most of a minute).
    """
    import huggingface_hub
    import timm

    published: Any = timm.get_pretrained_cfg(name)
    repository = published.hf_hub_id if published else None
    if repository is None or published.custom_load:
        raise ConfigError(
            f"There are no published weights for {name!r} that can be fetched.",
            expected="a model with weights" + _tagged_names(timm, name),
            where="model.pretrained=true",
            remedy=_REMEDY,
        )
    filename = published.hf_hub_filename or "model.safetensors"
    cached = huggingface_hub.try_to_load_from_cache(repository, filename)
    if isinstance(cached, str):
        return Path(cached)
    _require_online(name, repository, filename)
    return Path(huggingface_hub.hf_hub_download(repository, filename))


def _tagged_names(timm: Any, name: str) -> str:
    """The variants of the same architecture that do have weights, as the end of a sentence."""
    names = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
    return f", such as {', '.join(names[:4])}" if names else ""


def _require_online(name: str, repository: str, filename: str) -> None:
    """Raise ConfigError unless the host of the weights answers for this file."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        reason = "offline mode is set (HF_HUB_OFFLINE)"
    else:
        url = f"{constants.ENDPOINT}/{repository}/resolve/main/{filename}"
        reason = _failure(url)
    if reason:
        raise ConfigError(
            f"The pretrained weights of {name!r} are not on this machine and cannot be fetched.",
            expected=f"{repository}/{filename} in the cache {constants.HF_HUB_CACHE}, or a network",
            got=reason,
            where="model.pretrained=true",
            remedy=_REMEDY,
        )


def _failure(url: str) -> str:
    """Why an address gives no answer, or an empty text when it does."""
    outcome: list[str] = []
    # Name lookup knows no timeout of its own, so the wait is bounded from outside.
    probe = threading.Thread(target=lambda: outcome.append(_ask(url)), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS)
    return outcome[0] if outcome else f"no answer from {url} in {_PROBE_SECONDS:.0f} s"


def _ask(url: str) -> str:
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"{url} answered {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"
