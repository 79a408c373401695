"""Objects of a source, copied for all workers to read; what is there already is not copied again."""

from pathlib import Path

from preamar_train.data.local import text_objects
from preamar_train.data.stores import ListedObject, open_bucket
from preamar_train.request import DataSource


def listed(source: DataSource) -> list[tuple[DataSource, str, ListedObject]]:
    """One piece of work for each object that holds text."""
    return [(source, name, found) for name, found in text_objects(source, _bucket(source))]


def fetched(folder: str, source: DataSource, name: str, found: ListedObject) -> int:
    """Copies an object; its size."""
    target = Path(folder, source.name, name)
    mark = target.with_name(f".{target.name}.tag")
    words = f"{found.size} {found.version}"
    there = target.exists() and target.stat().st_size == found.size
    if not (there and mark.exists() and mark.read_text() == words):
        _bucket(source).fetch(found, target)
        mark.write_text(words)
    return found.size


def _bucket(source: DataSource):
    return open_bucket(source.uri, Path(source.credentials) if source.credentials else None)
