"""Where the client looks for a key."""

from __future__ import annotations

import netrc
import os
import pathlib
import urllib.parse


def has_credentials() -> bool:
    """Whether the client would find a key by itself: in the environment, its settings files, or the netrc file."""
    import wandb

    settings = wandb.setup().settings
    if settings.api_key or settings.identity_token_file or settings.mode != "online":
        return True
    host = urllib.parse.urlsplit(settings.base_url).netloc
    # The client's default host stands before the old one, and takes a key that was stored for it.
    hosts = [host, "api.wandb.ai"] if host.endswith("forge.coreweave.com") else [host]
    # The first file that exists counts, as for the client.
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if not name:
            continue
        try:
            known = netrc.netrc(pathlib.Path(name).expanduser())
        except FileNotFoundError:
            continue
        except (netrc.NetrcParseError, OSError):
            return False
        return any(known.authenticators(host) for host in hosts)
    return False
