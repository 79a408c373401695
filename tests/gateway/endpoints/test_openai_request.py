"""What is a conversation, what does a template make of it, and which bodies are refused unread?

Holds: gateway/endpoints/chat_template.py, gateway/endpoints/openai_request.py,
gateway/endpoints/request_body.py
"""

import json

import pytest

from preamar.gateway.endpoints import chat_template, openai_request
from preamar.gateway.endpoints.request_body import MAX_DEPTH, _depth
from preamar.gateway.errors import Problem


def test_a_template_renders_refuses_and_cannot_escape():
    hi = [{"role": "user", "content": "hi"}]
    assert chat_template.prompt_of("", hi, "m") == "user: hi\nassistant:"
    assert chat_template.prompt_of("{{ messages[0].content }}!", hi, "m") == "hi!"
    for text, status in (
        ("{{ raise_exception('no') }}", 400),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", 500),
        ("{% set x = messages.append(1) %}", 500),
        ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", 500),
        ("{{ 1 / 0 }}", 500),
        ("{% if %}", 500),
        ("x" * 70000, 500),
    ):
        with pytest.raises(Problem) as refused:
            chat_template.prompt_of(text, hi, "m")
        assert refused.value.status == status


def test_depth_counts_brackets_outside_of_strings():
    assert _depth(b"[" * 40) == 40
    assert _depth(json.dumps("[" * 1000).encode()) == 0
    assert _depth(b'{"a":' * (MAX_DEPTH + 1)) == MAX_DEPTH + 1


def test_developer_speaks_as_system_and_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "x"}, {"role": "user", "content": parts}]
    assert openai_request.messages_of({"messages": messages}) == [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "ab"},
    ]
    for bad in (None, [], [1], [{"role": "user"}], [{"role": "x", "content": ""}],
                [{"role": "user", "content": [{"type": "image_url"}]}]):  # fmt: skip
        with pytest.raises(Problem):
            openai_request.messages_of({"messages": bad})
