"""What does a user's model configuration say? Its protobuf text as mappings of lists: each field may
be repeated, strings and words are `str`, nested messages are mappings.

Words are protobuf's own (`text_format.Tokenizer`). Its parser wants the whole schema, which comes only
with a gRPC client, and cannot step over a list of messages that it does not know.
"""

import re

from google.protobuf import text_format

Message = dict[str, list]
BYTES, DEPTH = 2**20, 40
ONCE = ("name", "platform", "backend", "runtime")
"""Fields of the top that protobuf takes once."""
WORD = re.compile(r"-?[\w.][\w.+-]*")


class Unreadable(Exception):
    """Not protobuf text; the message says where."""


def read(text: str) -> Message:
    """Raises `Unreadable`."""
    if len(text) > BYTES:
        raise Unreadable(f"it is longer than {BYTES} characters")
    try:
        found = _message(text_format.Tokenizer(text.splitlines()), None, DEPTH)
    except text_format.ParseError as error:
        raise Unreadable(str(error)) from error
    if twice := [name for name in ONCE if len(found.get(name, ())) > 1]:
        raise Unreadable(f"it gives {twice[0]} twice")
    return found


def _message(tokens: text_format.Tokenizer, end: str | None, depth: int) -> Message:
    if not depth:
        raise tokens.ParseError(f"nested deeper than {DEPTH}")
    found: Message = {}
    while not (tokens.AtEnd() if end is None else tokens.TryConsume(end)):
        name = tokens.ConsumeIdentifier()
        typed = tokens.TryConsume(":")
        values = found.setdefault(name, [])
        if not tokens.TryConsume("["):
            values.append(_value(tokens, typed, depth))
        elif not tokens.TryConsume("]"):
            values.append(_value(tokens, typed, depth))
            while not tokens.TryConsume("]"):
                tokens.Consume(",")
                values.append(_value(tokens, typed, depth))
        if not tokens.TryConsume(","):
            tokens.TryConsume(";")
    return found


def _value(tokens: text_format.Tokenizer, typed: bool, depth: int) -> str | Message:
    for begin, end in (("{", "}"), ("<", ">")):
        if tokens.TryConsume(begin):
            return _message(tokens, end, depth - 1)
    if not typed:
        raise tokens.ParseError('":" or "{" expected')
    if tokens.token[:1] in {'"', "'"}:
        return tokens.ConsumeString()
    word = tokens.token
    if not WORD.fullmatch(word):
        raise tokens.ParseError(f"a value expected, not {word!r}")
    tokens.NextToken()
    return word
