"""Amounts of resources as Kubernetes reads them, and bytes as people do.

Holds: core/quantities.py
"""

from decimal import Decimal

import pytest

from preamar.core.quantities import amount, in_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4Gi", 4 * 2**30),
        ("512Mi", 2**29),
        ("1.5Gi", 3 * 2**29),
        ("128974848", 128_974_848),
        ("129M", 129_000_000),
        ("1k", 1000),
        ("2Ki", 2048),
        ("3Pi", 3 * 2**50),
        ("2E", 2 * 10**18),
        ("250m", Decimal("0.25")),
        ("0", 0),
    ],
)
def test_an_amount(text, expected):
    assert amount(text) == expected


@pytest.mark.parametrize(
    ("size", "words"),
    [(7, "7 B"), (2048, "2.0 KiB"), (3 * 2**29, "1.5 GiB"), (2**60, "1048576.0 TiB")],
)
def test_bytes_in_words(size, words):
    assert in_words(size) == words
