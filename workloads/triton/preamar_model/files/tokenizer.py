"""How does text become tokens for this model, and how many at most?

The tokenizer is stored as tokenizer.json whatever it came as. The limit is the smallest that any
of the model's files states, so that no position beyond its table is ever asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from preamar_model.files.pooling import json_at
from preamar_model.files.source import Source
from preamar_model.refusal import invalid

FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Tokens:
    size: int
    pad: int


def store_tokenizer(source: Source, config: Mapping, folder: Path) -> Tokens:
    """Raises `Refusal` when there is none or it does not load."""
    if source.has(FILE):
        try:
            tokenizer = Tokenizer.from_file(str(source.at(FILE)))
        except Exception as error:
            raise invalid(f"{FILE} cannot be read: {error}.") from error
    elif source.has("vocab.txt"):
        stated = (
            json_at(source, "tokenizer_config.json") if source.has("tokenizer_config.json") else {}
        )
        made = BertWordPieceTokenizer(
            str(source.at("vocab.txt")),
            lowercase=bool(stated.get("do_lower_case", True)),
            strip_accents=stated.get("strip_accents"),
            handle_chinese_chars=bool(stated.get("tokenize_chinese_chars", True)),
        )
        tokenizer = Tokenizer.from_str(made.to_str())
    else:
        raise invalid(f"There is neither {FILE} nor vocab.txt, so text cannot become tokens.")
    # Lengths are the server's business; a fixed padding in the file would waste most of the work.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / FILE))
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    words = config.get("vocab_size")
    if isinstance(words, int) and size > words:
        raise invalid(
            f"{FILE} knows {size} tokens, config.json only {words}; they belong to different models."
        )
    return Tokens(size, int(config.get("pad_token_id") or 0))


def max_tokens(source: Source, positions: int) -> int:
    limits = [positions]
    for file, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        stated = json_at(source, file).get(key) if source.has(file) else None
        if isinstance(stated, int) and stated > 0:
            limits.append(stated)
    return min(limits)
