"""Which numbers stand for the text.

A byte-level BPE, trained once on the training text and stored with every checkpoint and export:
a resumed or served model must read text as the first attempt did. Token 0 ends a document.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from preamar_train.data.documents import Passage, is_held_out, no_data, passages
from preamar_train.request import DataSource

END = "<|endoftext|>"
END_ID = 0
# Merges of a few thousand tokens no longer change after some tens of megabytes.
LEARN_CHARACTERS = 32 * 2**20


def learn(sources: Iterable[DataSource], vocabulary: int) -> str:
    """The tokenizer, as the JSON that the library `tokenizers` reads."""
    return learn_from([passages(each.name, Path(each.path)) for each in sources], vocabulary)


def learn_from(sources: Sequence[Iterable[Passage]], vocabulary: int) -> str:
    """The same from the passages of each source."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (text for source in sources for text in _training(source, len(sources)))
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def _training(source: Iterable[Passage], sources: int) -> Iterator[str]:
    left = LEARN_CHARACTERS // sources
    for index, passage in enumerate(source):
        if left <= 0:
            return
        if not is_held_out(index):
            left -= len(passage.text)
            yield passage.text


def load(text: str, vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(text)
    if tokenizer.get_vocab_size() > vocabulary or tokenizer.token_to_id(END) != END_ID:
        raise no_data("The stored tokenizer does not fit the model.")
    return tokenizer
