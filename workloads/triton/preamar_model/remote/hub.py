"""Which files has a repository of a hub, at which commit?

One question to the hub's API: `GET /api/models/<owner>/<name>/revision/<revision>?blobs=true`
answers with the commit and each file's name, size and, for large ones, SHA-256. The files are then
read at that commit, so a push meanwhile changes nothing. The answer is read without following
redirects: the token is for this host.
"""

import json
import re
import ssl
import urllib.error
import urllib.request
from pathlib import PurePosixPath
from typing import Any

from preamar_model.refusal import Refusal, RefusalReason, invalid
from preamar_model.remote.attempts import tried
from preamar_model.remote.files import Remote, must_be_plain, not_too_many
from preamar_model.remote.gate import Gate
from preamar_model.remote.location import SourceLocation

MOST_BYTES = 32 * 2**20
SECONDS = 60
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def in_hub(place: SourceLocation, gate: Gate, roots: bytes | None) -> list[Remote]:
    """Raises `Refusal` where there is no such repository, or it holds no file."""
    if not REVISION.fullmatch(place.revision):
        raise invalid(f"{place.uri}: {place.revision!r} is not a branch, a tag or a commit.")
    url = f"{place.base}/api/models/{place.repository}/revision/{place.revision}?blobs=true"
    about = _answer(place, url, gate, roots)
    commit = about.get("sha")
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        raise invalid(f"{place.uri}: the hub names no commit of revision {place.revision!r}.")
    found = []
    siblings = about.get("siblings")
    for entry in siblings if isinstance(siblings, list) else ():
        each = _file(place, commit, entry) if isinstance(entry, dict) else None
        if each is not None:
            found.append(each)
        not_too_many(place.uri, len(found))
    if not found:
        raise Refusal(RefusalReason.MODEL_NOT_FOUND, f"{place.uri} holds no file.")
    return found


def _file(place: SourceLocation, commit: str, entry: dict[str, Any]) -> Remote | None:
    name = entry.get("rfilename")
    if not isinstance(name, str) or name.startswith(".git"):
        return None
    must_be_plain(name)
    below = place.key
    if below and name != below and not name.startswith(f"{below}/"):
        return None
    lfs = entry.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else {}
    size, sha = lfs.get("size", entry.get("size")), lfs.get("sha256")
    if not isinstance(size, int):
        raise invalid(f"{place.uri}: the hub does not say how large {name} is.")
    short = PurePosixPath(name).name if name == below else name[len(below) :].lstrip("/")
    sha = sha if isinstance(sha, str) and re.fullmatch(r"[0-9a-f]{64}", sha) else None
    key = f"{place.repository}/resolve/{commit}/{name}"
    return Remote(key, short, size, commit, sha256=sha)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _answer(place: SourceLocation, url: str, gate: Gate, roots: bytes | None) -> dict[str, Any]:
    # Plain HTTP is for hosts that were allowed; anything else goes by the gate.
    direct = url.startswith("http://")
    context = ssl.create_default_context(cadata=roots.decode() if roots else None)
    opener = urllib.request.build_opener(
        _Stay,
        urllib.request.ProxyHandler({} if direct else {"http": gate.url, "https": gate.url}),
        urllib.request.HTTPSHandler(context=context),
    )
    request = urllib.request.Request(url, headers={"User-Agent": "preamar-model", **place.headers})

    def asked() -> bytes:
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                text: bytes = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise _as_known(error) from error
        return text

    text = tried(place.uri, asked, gate.reason)
    try:
        told = json.loads(text) if len(text) <= MOST_BYTES else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise invalid(f"{place.uri}: the hub's answer is not one that is understood.")
    return told


def _as_known(error: urllib.error.HTTPError) -> OSError:
    """A hub answers 401 for what does not exist, so as not to tell."""
    if error.code in {401, 403}:
        return PermissionError(error.code)
    return FileNotFoundError(error.code) if error.code == 404 else error
