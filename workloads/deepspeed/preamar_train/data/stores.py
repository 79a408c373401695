"""Objects of S3, Google Cloud Storage, Azure and HTTPS as files, exactly as they were listed.

Each piece is asked for on the condition that the object still has the ETag of the listing, and
its length is compared, so a truncated answer is tried again and an object that was replaced
meanwhile is never mixed with its successor. Tries are bounded; what credentials or names get
wrong is told at once. The library's configuration keys are the names of the usual environment
variables, so a Secret with AWS_ACCESS_KEY_ID and the like is used as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import obstore
from obstore import exceptions
from obstore.store import from_url
from preamar_storage.attempts import (
    StoreRefused,
    StoreUnreachable,
    TornAnswer,
    first_line,
    tried,
)
from preamar_storage.secret import SecretUnreadable, endpoints_in, read_secret
from preamar_storage.version import strong_tag, version_of

from preamar_train.data.documents import no_data
from preamar_train.failures import Class, TrainerFailure

T = TypeVar("T")
PIECE_BYTES = 16 * 2**20
REQUEST_SECONDS, CONNECT_SECONDS = 60, 10
MOST_OBJECTS = 1_000_000


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as it was listed. `tag` is None where the server gives no strong ETag; `version`
    is it, or else when the object was last changed."""

    key: str
    size: int
    tag: str | None
    version: str = ""


def open_bucket(uri: str, credentials: Path | None) -> "Bucket":
    """The bucket, container or host that a URI names; DataError if the credentials are unusable."""
    scheme, _, rest = uri.partition("://")
    place = rest.partition("/")[0]
    config = _config(credentials)
    endpoint = next(iter(endpoints_in(config)), "")
    options = {
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        # Plain HTTP only where the user's own endpoint says so.
        "allow_http": endpoint.startswith("http://"),
    }
    try:
        store = from_url(
            f"{scheme}://{place}",
            config=None if scheme == "https" else config,
            client_options=options,
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=REQUEST_SECONDS)},
        )
    except exceptions.BaseError as error:
        raise no_data(f"{uri} cannot be used: {first_line(error)}") from error
    return Bucket(store, f"{scheme}://{place}")


def _config(folder: Path | None) -> dict[str, str]:
    try:
        return read_secret(folder)
    except SecretUnreadable as error:
        raise no_data(f"The credentials in {folder} cannot be read: {error}.") from error


class Bucket:
    """Reads objects of one place. It is a `reading.Place` too: a file's name is its key."""

    cached = False

    def __init__(self, store, where: str) -> None:
        self._store, self._where = store, where
        self._known: dict[str, ListedObject] = {}

    def objects(self, prefix: str) -> list[ListedObject]:
        """What lies below a prefix, by name; DataError where nothing does."""
        found = self._tried(prefix, lambda: self._list(prefix))
        if not found:
            raise no_data(f"{self._where}/{prefix} holds no object.")
        return sorted(found, key=lambda each: each.key)

    def _list(self, prefix: str) -> list[ListedObject]:
        found: list[ListedObject] = []
        for page in obstore.list(self._store, prefix or None, chunk_size=1000):
            found += [_found(each) for each in page]
            if len(found) > MOST_OBJECTS:
                raise no_data(f"{self._where}/{prefix} holds more than {MOST_OBJECTS:,} objects.")
        return found

    def one(self, key: str) -> ListedObject:
        """One object by its key."""
        return self._tried(key, lambda: _found(obstore.head(self._store, key), key))

    def piece(self, found: ListedObject, first: int, count: int) -> bytes:
        """`count` bytes of an object from `first` on, of the version that was listed."""
        if not count:
            return b""

        def act() -> bytes:
            options = {"range": (first, first + count)}
            if found.tag:
                options["if_match"] = found.tag
            answer = obstore.get(self._store, found.key, options=options)
            if answer.meta["size"] != found.size:
                raise self._changed(found)
            data = bytes(answer.bytes())
            if len(data) != count:
                raise TornAnswer(f"{len(data):,} of {count:,} bytes came")
            return data

        return self._tried(found.key, act)

    def fetch(self, found: ListedObject, target: Path) -> None:
        """Copies an object into a file, which has its name only when it is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        with unfinished.open("wb") as out:
            for first in range(0, found.size, PIECE_BYTES):
                out.write(self.piece(found, first, min(PIECE_BYTES, found.size - first)))
        unfinished.replace(target)

    def read(self, file: str, first: int, count: int) -> bytes:
        if file not in self._known:
            self._known[file] = self.one(file)
        found = self._known[file]
        return self.piece(found, first, max(0, min(count, found.size - first)))

    def whole(self, file: str, most: int) -> bytes:
        found = self.one(file)
        if found.size > most:
            raise no_data(f"{self._where}/{file} is larger than {most:,} bytes.")
        return self.piece(found, 0, found.size)

    def _changed(self, found: ListedObject) -> TrainerFailure:
        return no_data(
            f"{self._where}/{found.key} changed while it was read. Write new data under a new name: "
            "samples could not be counted otherwise."
        )

    def _tried(self, key: str, act: Callable[[], T]) -> T:
        try:
            return tried(act)
        except exceptions.PreconditionError as error:
            raise self._changed(ListedObject(key, 0, None)) from error
        except StoreRefused as error:
            raise no_data(f"{self._where}/{key} {error.fault}.") from error
        except StoreUnreachable as error:
            raise TrainerFailure(Class.UNKNOWN, f"{self._where}/{key} {error}") from error


def _found(meta, key: str | None = None) -> ListedObject:
    return ListedObject(key or meta["path"], meta["size"], strong_tag(meta), version_of(meta))
