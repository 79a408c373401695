"""Which text may be shown after each token? Only whole characters, and their sum is the whole text.

Byte-level vocabularies are decoded byte by byte. Others are decoded in a sliding window, because
what a token looks like depends on the one before it.
"""

import codecs
import json

from tokenizers import Tokenizer

WINDOW = 16
"""Tokens held back at most while a character is incomplete."""


def bytes_of_letters() -> dict[str, int]:
    """The letters that byte-level vocabularies write bytes as: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}


LETTERS = bytes_of_letters()


class Vocabulary:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special = {number for number, token in added.items() if token.special}
        self.added = {number: token.content for number, token in added.items()}
        self.byte_level = (json.loads(tokenizer.to_str()).get("decoder") or {}).get(
            "type"
        ) == "ByteLevel"

    def stream(self) -> "ByteStream | WindowStream":
        return ByteStream(self) if self.byte_level else WindowStream(self)


class ByteStream:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        if token in self.vocabulary.special:
            return ""
        word = self.vocabulary.tokenizer.id_to_token(token) or ""
        if token in self.vocabulary.added or any(letter not in LETTERS for letter in word):
            return self.decoder.decode(word.encode())
        return self.decoder.decode(bytes(LETTERS[letter] for letter in word))

    def end(self) -> str:
        return self.decoder.decode(b"", final=True)


class WindowStream:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.tokens: list[int] = []
        self.shown = 0
        """Tokens of the window whose text has been given out."""

    def push(self, token: int) -> str:
        if token in self.vocabulary.special:
            return ""
        self.tokens.append(token)
        if self._decode(self.tokens).endswith("\ufffd") and len(self.tokens) - self.shown < WINDOW:
            return ""
        return self.end()

    def end(self) -> str:
        before, now = self._decode(self.tokens[: self.shown]), self._decode(self.tokens)
        # One shown token stays as the context that decides about the next one's leading space.
        self.tokens, self.shown = self.tokens[self.shown :] or self.tokens, 0
        self.shown = len(self.tokens)
        return now[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return self.vocabulary.tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
