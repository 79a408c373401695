"""What does a mounted Secret say to an object store?

One file a key; the names of keys are those of the usual environment variables, which obstore knows in
lower case.
"""

from collections.abc import Mapping
from pathlib import Path


class SecretUnreadable(Exception):
    """A file of the Secret cannot be read, or is no text; the message says which and why."""


def read_secret(folder: Path | None) -> dict[str, str]:
    """The keys of a Secret in lower case, none where there is no Secret. Raises `SecretUnreadable`."""
    if folder is None:
        return {}
    try:
        # The kubelet's own links begin with two dots.
        files = [each for each in folder.iterdir() if not each.name.startswith(".")]
        return {each.name.lower(): each.read_text().strip() for each in files}
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(str(error)) from error


def endpoints_in(secret: Mapping[str, str]) -> tuple[str, ...]:
    """URLs that a Secret asks to be used instead of the cloud's own."""
    return tuple(url for key, url in secret.items() if key.endswith(("endpoint", "endpoint_url")))
