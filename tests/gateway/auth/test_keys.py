"""What is a key of ours, and what is none?

Holds: gateway/auth/keys.py
"""

from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.auth import keys
from tests.hunting import examples


def test_a_key_is_what_it_says_or_nothing():
    key, parts = keys.mint()
    assert keys.parse(key) == parts
    for at in range(len(key)):
        other = "A" if key[at] != "A" else "B"
        assert keys.parse(key[:at] + other + key[at + 1 :]) is None
        assert keys.parse(key[:at]) is None
    assert keys.parse(key + "\n") is None
    assert keys.parse("") is None


@examples(check=25, hunt=2000)
@given(st.text(max_size=100))
def test_no_text_breaks_the_key_parser(text):
    assert keys.parse(text) is None
