"""Which texts stand in when nobody gave any? Plain English sentences, drawn with a seed.

Real words in a real order exercise an encoder's activations as random tokens do not; texts of
one's own are better still.
"""

import numpy as np

WHO = (
    "the teacher", "a young engineer", "our neighbour", "the committee", "an old sailor", "she",
    "the company", "my brother", "every visitor", "the doctor", "a small team", "the children",
    "a customer", "the city council", "he", "the research group", "a farmer", "their lawyer",
)  # fmt: skip
DOES = (
    "opened", "repaired", "forgot", "described", "bought", "sold", "measured", "painted", "lost",
    "ordered", "returned", "compared", "explained", "delivered", "cancelled", "reviewed", "found",
)  # fmt: skip
WHAT = (
    "the red bicycle", "a letter from the bank", "three boxes of apples", "the annual report",
    "an expensive camera", "the wrong train", "a new database", "the kitchen window", "some music",
    "a contract for two years", "the results of the experiment", "a map of the coast", "his keys",
    "the invoice of last month", "a theory about black holes", "the software update", "cold water",
)  # fmt: skip
WHEN = (
    "yesterday", "before the storm", "in 1987", "without telling anyone", "on a rainy Tuesday",
    "because the price had doubled", "after the long meeting", "for the first time", "at noon",
    "while the others were asleep", "near the river", "in spite of every warning", "again",
    "with great care", "as soon as the shop had closed", "somewhere between Lisbon and Oslo",
)  # fmt: skip
QUESTIONS = (
    "How do I reset my password?", "What is the capital of Portugal?", "Is this still available?",
    "Why does the engine stop when it is cold?", "Where can I return a broken lamp?",
    "Which medicine helps against a headache?", "Who wrote this novel, and when?",
)  # fmt: skip


def draw(count: int, seed: int) -> list[str]:
    """``count`` texts of one to six sentences; the same for the same seed."""
    chance = np.random.default_rng(seed)
    return [_text(chance) for _ in range(count)]


def _text(chance: np.random.Generator) -> str:
    parts = []
    for _ in range(1 + int(chance.integers(6)) * int(chance.integers(2))):
        if chance.random() < 0.15:
            parts.append(_one(chance, QUESTIONS))
            continue
        words = " ".join(_one(chance, each) for each in (WHO, DOES, WHAT, WHEN))
        parts.append(words[0].upper() + words[1:] + ".")
    return " ".join(parts)


def _one(chance: np.random.Generator, among: tuple[str, ...]) -> str:
    return among[int(chance.integers(len(among)))]
