"""Which text is there to learn from.

A source is a file or a folder of `.txt` and `.jsonl` (key "text") files, read in the order of
their names. Documents are cut into passages of about 4 KiB at paragraph borders, so that one
long book can be split into training and held-out text as well as many short ones can.
"""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preamar_train.failures import Class, TrainerFailure

PASSAGE_CHARACTERS = 4096
LINE_BYTES = 64 * 2**20
HELD_OUT_EVERY = 50
SUFFIXES = (".txt", ".jsonl")
_USERS = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
)


@dataclass(frozen=True, slots=True)
class Passage:
    text: str
    ends: bool  # whether a document ends here


def no_data(sentence: str) -> TrainerFailure:
    return TrainerFailure(Class.DATA_ERROR, sentence)


def unreadable(what: str, error: OSError) -> TrainerFailure:
    """The user's error where a file is missing or closed to us; else the storage's, and worth
    another attempt."""
    kind = Class.DATA_ERROR if error.errno in _USERS else Class.UNKNOWN
    return TrainerFailure(kind, f"{what} cannot be read: {error.strerror}.")


def files_of(name: str, path: Path) -> tuple[Path, ...]:
    """The files of a source, in a fixed order."""
    if not path.exists():
        raise no_data(f"Data source {name}: {path} does not exist in its volume.")
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise no_data(f"Data source {name}: {path.name} is neither .txt nor .jsonl.")
        return (path,)
    found = []
    try:
        for folder, folders, names in os.walk(path, onerror=_unreadable):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            found += [
                Path(folder, each)
                for each in sorted(names)
                if Path(each).suffix in SUFFIXES and not each.startswith(".")
            ]
    except OSError as error:
        raise unreadable(f"Data source {name}: {path}", error) from error
    if not found:
        raise no_data(f"Data source {name}: {path} holds no .txt or .jsonl file.")
    return tuple(found)


def _unreadable(error: OSError) -> None:
    raise error


def passages(name: str, path: Path) -> Iterator[Passage]:
    """All text of a source, passage by passage."""
    for file in files_of(name, path):
        for document in documents(name, file):
            yield from document


def documents(
    name: str, file: Path, first: int = 0, last: int | None = None
) -> Iterator[Iterator[Passage]]:
    """The documents of a file, each as its passages: to be read one after the other.

    A .jsonl file may be read in part: the lines that begin from byte `first` up to `last`.
    """
    if file.suffix == ".txt":
        yield cut(_lines(name, file, 0, None))
        return
    for number, line in enumerate(_lines(name, file, first, last), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, TypeError, KeyError):
            text = None
        if not isinstance(text, str):
            after = f" after byte {first:,}" if first else ""
            raise no_data(
                f'Data source {name}: line {number}{after} of {file.name} is no JSON object with a string "text".'
            )
        yield cut(iter(text.splitlines(keepends=True)))


def _lines(name: str, file: Path, first: int, last: int | None) -> Iterator[str]:
    try:
        yield from _readable_lines(name, file, first, last)
    except OSError as error:
        raise unreadable(f"Data source {name}: {file}", error) from error


def _readable_lines(name: str, file: Path, first: int, last: int | None) -> Iterator[str]:
    broken = seen = 0
    with file.open("rb") as stream:
        if first:
            stream.seek(first - 1)  # the line that a byte before `first` belongs to is not ours
            stream.readline(LINE_BYTES)
        while (last is None or stream.tell() < last) and (line := stream.readline(LINE_BYTES)):
            if len(line) == LINE_BYTES:
                raise no_data(f"Data source {name}: {file.name} has a line of more than 64 MiB.")
            text = line.decode("utf-8", errors="replace")
            broken += text.count("\ufffd")
            seen += len(text)
            yield text
    if broken > max(16, seen // 100):
        raise no_data(f"Data source {name}: {file.name} is not UTF-8 text.")


def cut(lines: Iterator[str]) -> Iterator[Passage]:
    """One document's passages: cut at an empty line once 4 KiB are full, at any line by 8 KiB."""
    held: list[str] = []
    size = 0
    for line in lines:
        for start in range(0, len(line), PASSAGE_CHARACTERS):
            piece = line[start : start + PASSAGE_CHARACTERS]
            if size >= 2 * PASSAGE_CHARACTERS or (size >= PASSAGE_CHARACTERS and not piece.strip()):
                yield Passage("".join(held), ends=False)
                held, size = [], 0
            held.append(piece)
            size += len(piece)
    if "".join(held).strip():
        yield Passage("".join(held), ends=True)


def is_held_out(index: int) -> bool:
    """Whether a source's passage of this number is kept from training: every 50th is."""
    return index % HELD_OUT_EVERY == HELD_OUT_EVERY // 2
