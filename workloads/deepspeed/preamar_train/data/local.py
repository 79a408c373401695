"""Where does a pod find the text of its sources? Objects are copied to its scratch disk first.

A volume is read where it is mounted. Which file an object becomes is the same in every pod, so
the order of the text is too.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from preamar_train.data.documents import SUFFIXES, no_data
from preamar_train.data.stores import Bucket, ListedObject, open_bucket
from preamar_train.request import DataSource


def bring(sources: Iterable[DataSource], scratch: Path) -> tuple[DataSource, ...]:
    """Copies what is in object stores; the sources as files. DataError, or Unknown after retries."""
    return tuple(_brought(each, scratch) if each.remote else each for each in sources)


def placed(sources: Iterable[DataSource], scratch: Path) -> tuple[DataSource, ...]:
    """The sources as `bring` leaves them, without bringing any."""
    return tuple(
        replace(each, path=str(_folder(each, scratch))) if each.remote else each for each in sources
    )


def _folder(source: DataSource, scratch: Path) -> Path:
    return scratch / "objects" / source.name


def _brought(source: DataSource, scratch: Path) -> DataSource:
    bucket = open_bucket(source.uri, Path(source.credentials) if source.credentials else None)
    folder = _folder(source, scratch)
    for file, found in text_objects(source, bucket):
        bucket.fetch(found, folder / file)
    return replace(source, path=str(folder))


def text_objects(source: DataSource, bucket: Bucket) -> list[tuple[str, ListedObject]]:
    """The objects of a source that hold text, each with its name below the source."""
    scheme, _, rest = source.uri.partition("://")
    path = rest.partition("/")[2].strip("/")
    if path.endswith(SUFFIXES):
        return [(PurePosixPath(path).name, bucket.one(path))]
    if scheme == "https":
        raise no_data(
            f"Data source {source.name}: {source.uri} must name one .txt or .jsonl file, since "
            "HTTPS cannot list a folder."
        )
    prefix = f"{path}/" if path else ""
    found = [(each.key[len(prefix) :], each) for each in bucket.objects(path)]
    texts = [(file, each) for file, each in found if _is_text(file) and each.key.startswith(prefix)]
    if not texts:
        raise no_data(f"Data source {source.name}: {source.uri} holds no .txt or .jsonl object.")
    return texts


def _is_text(file: str) -> bool:
    steps = file.split("/")
    return file.endswith(SUFFIXES) and not any(not s or s.startswith(".") for s in steps)
