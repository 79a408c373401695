"""How do texts become a graph's inputs? As the model server's backends do it: tokenised, cut,
padded to the longest, with an empty key-value cache where the graph takes one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from preamar_model.files import onnx_file
from preamar_model.files.pooling import json_at
from preamar_model.files.source import Source
from preamar_model.files.tensors import Signature
from preamar_model.files.tokenizer import FILE, max_tokens
from preamar_model.passes.session import Feed, Session

MOST_TOKENS = 256
PAST = "past_key_values."


class TextReader:
    def __init__(self, source: Source, signature: Signature, folder: Path) -> None:
        config = json_at(source, "config.json")
        # RoBERTa's table has two rows that no token uses.
        positions = int(config.get("max_position_embeddings") or 512) - 2
        self.folder = folder
        self.names = {tensor.name for tensor in signature.inputs}
        self.past = [tensor for tensor in signature.inputs if tensor.name.startswith(PAST)]
        self.pad = int(config.get("pad_token_id") or 0)
        self.tokenizer = Tokenizer.from_file(str(folder / FILE))
        self.tokenizer.enable_truncation(
            min(MOST_TOKENS, max(2, max_tokens(source, positions) // 2))
        )

    def feed(self, texts: Sequence[str]) -> Feed:
        """Ids, masks and positions [texts, tokens] int64; caches [texts, heads, 0, width]."""
        rows = [item.ids or [self.pad] for item in self.tokenizer.encode_batch(list(texts))]
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        places = np.broadcast_to(np.arange(longest), ids.shape)
        known = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.ascontiguousarray(places),
        }
        empty = {
            tensor.name: np.zeros((len(rows), tensor.shape[1], 0, tensor.shape[3]), np.float32)
            for tensor in self.past
        }
        return {name: value for name, value in known.items() if name in self.names} | empty

    def step(self, feed: Feed) -> Feed:
        """The call that makes the next token after a text, its cache filled by the model itself."""
        session = Session(str(self.folder / onnx_file.MODEL))
        told = session(feed)
        length = feed["input_ids"].shape[1]
        known = {
            "input_ids": feed["input_ids"][:, -1:],
            "attention_mask": np.ones((1, length + 1), np.int64),
            "position_ids": np.full((1, 1), length, np.int64),
        }
        cache = {t.name: told[t.name.replace("past_key_values", "present")] for t in self.past}
        return {name: value for name, value in known.items() if name in self.names} | cache
