"""How does a model from elsewhere come to lie in a folder of this pod?

Judged, listed, looked up in the cache, fetched within its bounds, and kept while it is read. Where its
place does not answer, what it led to last is served on; a digest in the resource holds for that too.
"""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from preamar_model.refusal import invalid
from preamar_model.remote import gate as gates
from preamar_model.remote.attempts import SourceUnreachable, closed
from preamar_model.remote.cache import Cache, key_of
from preamar_model.remote.download import download
from preamar_model.remote.files import Remote
from preamar_model.remote.gate import Gate
from preamar_model.remote.listing import listed
from preamar_model.remote.location import SourceLocation, host_of, location_of
from preamar_model.remote.stores import forget_environment, opened
from preamar_model.remote.unpack import is_archive, unpack

AT_ONCE = 4
TOLD_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class FetchSpec:
    """``hosts`` may be spoken to although they are not public, also without TLS. ``most``: bytes
    that the cache may hold. ``roots``: a file with more certificates to trust."""

    uri: str
    cache: Path
    most: int
    secret: Path | None = None
    hosts: tuple[str, ...] = ()
    roots: Path | None = None


@contextmanager
def fetched(wish: FetchSpec) -> Iterator[Path]:
    """The model's folder, or its one file, which stays while the context lasts. Raises `Refusal` for
    what the user can mend, `SourceUnreachable` and `NoRoom` for the world's faults."""
    forget_environment()
    where = location_of(wish.uri, wish.secret)
    _judge_endpoints(where, frozenset(each.lower() for each in wish.hosts))
    cache = Cache(wish.cache, wish.most)
    wish.cache.mkdir(parents=True, exist_ok=True)
    with closing(Gate(wish.hosts)) as gate:
        folder = _ready(wish, where, cache, gate)
    with cache.reading(folder.name):
        found = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
        yield found[0] if len(found) == 1 and found[0].is_file() else folder


def _ready(wish: FetchSpec, where: SourceLocation, cache: Cache, gate: Gate) -> Path:
    roots = wish.roots.read_bytes() if wish.roots else None
    store = opened(where, gate.url, roots)
    try:
        files = listed(where, store, gate, roots)
    except SourceUnreachable as error:
        kept = cache.last(wish.uri)
        if kept is None:
            raise
        print(f"{error}; what it led to last is served", flush=True)
        return kept
    key = key_of(f"{where.base}/{where.repository}", files)
    with cache.alone(key):
        kept = cache.whole(key)
        if kept is not None:
            cache.remember(wish.uri, key)
            print(f"{wish.uri} is in the cache", flush=True)
            return kept
        cache.make_room(key, sum(each.size for each in files))
        _fetch(wish, store, files, cache.making(key), gate)
        return cache.finish(key, wish.uri)


def _fetch(
    wish: FetchSpec, store: object, files: tuple[Remote, ...], target: Path, gate: Gate
) -> None:
    target.mkdir(exist_ok=True)
    missing = [f for f in files if not (target / f.name).is_file()]
    progress = FetchProgress(sum(f.size for f in files))
    progress.add(progress.total - sum(f.size for f in missing))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        under_way = [
            pool.submit(
                download, wish.uri, store, each, target / each.name, gate.reason, progress.add
            )
            for each in missing
        ]
        try:
            for one in under_way:
                one.result()
        except BaseException:
            for one in under_way:
                one.cancel()
            raise
    if len(files) == 1 and is_archive(files[0].name):
        archive, inside = target / files[0].name, target / ".inside"
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir()
        try:
            unpack(archive, files[0].name, inside, wish.most)
        except BaseException:
            shutil.rmtree(inside, ignore_errors=True)
            raise
        archive.unlink()
        for each in list(inside.iterdir()):
            each.rename(target / each.name)
        inside.rmdir()
    print(f"fetched {progress.total:,} bytes in {progress.seconds:.1f} s", flush=True)


@dataclass
class FetchProgress:
    """Says how far it is, now and then."""

    total: int
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            if time.monotonic() - self.told < TOLD_EVERY:
                return
            self.told = time.monotonic()
            print(
                f"fetched {self.done / 1e6:,.0f} of {self.total / 1e6:,.0f} MB, "
                f"{self.done / 1e6 / self.seconds:,.0f} MB/s",
                flush=True,
            )


def _judge_endpoints(where: SourceLocation, allowed: frozenset[str]) -> None:
    """Raises `Refusal` for an endpoint without TLS that nobody allowed, or that is none."""
    for url in where.endpoints:
        try:
            host, port = host_of(url)
        except ValueError as error:
            raise invalid(f"The endpoint {url!r} in the Secret is not a URL.") from error
        if url.startswith("https://"):
            continue
        if not url.startswith("http://") or not gates.is_allowed(host, port, allowed):
            raise closed(where.uri, f"{url} is not HTTPS")
