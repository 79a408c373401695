"""The unmodified openai client against the gateway and a fake model server, over real sockets.

Holds: gateway/endpoints/embed.py, gateway/endpoints/generate.py, gateway/endpoints/openai.py,
gateway/endpoints/openai_response.py, gateway/endpoints/response_stream.py,
gateway/endpoints/usage.py, gateway/relay/model_config.py
"""

import asyncio
import base64
import struct
from datetime import UTC, datetime
from decimal import Decimal

import openai
import pytest

from preamar.gateway.discovery.resources import model_of
from tests.gateway.conftest import ADMIN, endpoints, service, until
from tests.gateway.fake_triton import FakeTriton


def client(rig, **more):
    settings = {"api_key": rig.key, "max_retries": 0} | more
    return openai.AsyncOpenAI(base_url=f"{rig.url}/v1", **settings)


async def test_embeddings_come_back_as_the_model_made_them(rig):
    async with FakeTriton() as fake:
        rig.know([service("mini", "Embed")], endpoints("mini", fake.port))
        answer = await client(rig).embeddings.create(model="mini", input=["a b", "abcd"])
        assert [item.embedding for item in answer.data] == [[3.0, 0.5, -1.0], [4.0, 0.5, -1.0]]
        assert answer.usage.prompt_tokens == 3
        as_text = await client(rig).embeddings.create(
            model="mini", input="abc", encoding_format="base64"
        )
        raw = base64.b64decode(as_text.data[0].embedding)
        assert struct.unpack("<3f", raw) == (3.0, 0.5, -1.0)


async def test_more_texts_than_a_batch_are_sent_in_batches_in_order(rig):
    async with FakeTriton() as fake:
        rig.know([service("mini", "Embed")], endpoints("mini", fake.port))
        texts = ["x" * n for n in range(1, 21)]
        answer = await client(rig).embeddings.create(model="mini", input=texts)
        assert [item.embedding[0] for item in answer.data] == list(range(1, 21))
        assert len(fake.requests) == 3


async def test_a_chat_is_whole_or_streamed_with_the_same_text_and_usage(rig):
    async with FakeTriton(
        template="{% for m in messages %}<{{m.role}}>{{m.content}}{% endfor %}"
    ) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        messages = [{"role": "user", "content": "hi"}]
        whole = await client(rig).chat.completions.create(
            model="gpt", messages=messages, max_completion_tokens=9, stop=["x"], seed=3,
            temperature=0.5, top_p=0.9, user="ignored",
        )  # fmt: skip
        assert whole.choices[0].message.content == "one two three"
        assert whole.choices[0].finish_reason == "stop"
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 3)
        assert fake.requests[0][2] == {
            "prompt": "<user>hi", "max_tokens": 9, "stop": ["x"], "seed": 3,
            "temperature": 0.5, "top_p": 0.9,
        }  # fmt: skip
        stream = await client(rig).chat.completions.create(
            model="gpt", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "one two three"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == 7
        assert all(chunk.usage is None for chunk in chunks[:-1])


PRICE = {"perMillionInputTokens": "0.10", "perMillionOutputTokens": "0.40", "perRequest": "0.01"}


async def test_each_answer_says_what_it_costs_and_a_free_model_that_it_is_free(rig):
    async with FakeTriton() as fake:
        rig.know(
            [service("gpt", price=PRICE), service("mini", "Embed", price=PRICE), service("free")],
            endpoints("gpt", fake.port)
            + endpoints("mini", fake.port)
            + endpoints("free", fake.port),
        )
        ask = client(rig)
        whole = await ask.completions.create(model="gpt", prompt="hi", max_tokens=9)
        tokens = (whole.usage.prompt_tokens, whole.usage.completion_tokens)
        exact = Decimal("0.01") + tokens[0] * Decimal("1e-7") + tokens[1] * Decimal("4e-7")
        assert Decimal(whole.usage.cost) == exact
        streamed = await ask.completions.create(
            model="gpt", prompt="hi", stream=True, stream_options={"include_usage": True}
        )
        assert [chunk async for chunk in streamed][-1].usage.cost == whole.usage.cost
        vectors = await ask.embeddings.create(model="mini", input=["a b", "abcd"])
        assert (vectors.usage.prompt_tokens, vectors.usage.cost) == (3, "0.0100003")
        assert (await ask.completions.create(model="free", prompt="hi")).usage.cost == "0"


async def test_the_admin_client_reads_what_each_tenant_owes(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("gpt", price=PRICE)], endpoints("gpt", fake.port))
        answers = [await client(rig).completions.create(model="gpt", prompt="hi") for _ in range(3)]
        rig.know([service("gpt", price={"perRequest": "1"})])
        answers.append(await client(rig).completions.create(model="gpt", prompt="hi"))
    admin = openai.AsyncOpenAI(
        base_url=f"{rig.admin_url}/v1", api_key="-", admin_api_key=ADMIN, max_retries=0
    )
    page = await admin.admin.organization.usage.costs(
        start_time=1767225600, limit=180, group_by=["project_id"]
    )
    found = [result for bucket in page.data for result in bucket.results]
    while page.has_more:
        page = await admin.admin.organization.usage.costs(
            start_time=1767225600, limit=180, group_by=["project_id"], page=page.next_page
        )
        found += [result for bucket in page.data for result in bucket.results]
    owed = sum(Decimal(result.amount.decimal) for result in found)
    assert owed == sum(Decimal(answer.usage.cost) for answer in answers)
    assert {(result.project_id, result.amount.currency) for result in found} == {("acme", "usd")}
    month = datetime.now(UTC).strftime("%Y-%m")
    url, key = f"{rig.admin_url}/tenants/acme/invoices", {"Authorization": f"Bearer {ADMIN}"}
    async with http.get(f"{url}/{month}", headers=key) as answer:
        told = await answer.json()
    assert sum(Decimal(line["exact"]) for line in told["lines"]) == owed
    async with http.get(f"{url}/{month}?format=csv", headers=key) as answer:
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert len((await answer.text()).splitlines()) == len(told["lines"]) + 1
    async with http.get(f"{url}/november", headers=key) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "month")


def test_a_model_whose_price_cannot_be_read_is_not_given_away():
    assert model_of(service("gpt", price={"perRequest": "cheap"})) is None


async def test_a_completion_streams_through_the_synchronous_client(rig):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))

        def ask():
            with openai.OpenAI(base_url=f"{rig.url}/v1", api_key=rig.key) as sync:
                found = sync.completions.create(model="gpt", prompt="hi", stream=True)
                return "".join(chunk.choices[0].text for chunk in found)

        assert await asyncio.to_thread(ask) == "one two three"
        assert fake.requests[0][2]["max_tokens"] == 16


async def test_models_are_listed_to_those_who_may_use_them(rig):
    other = service("other", access={"mode": "Listed", "tenants": ["somebody"]})
    rig.know([service("gpt"), other], [])
    found = [model.id async for model in client(rig).models.list()]
    assert found == ["gpt"]
    assert (await client(rig).models.retrieve("gpt")).created == 1767225601
    with pytest.raises(openai.NotFoundError):
        await client(rig).models.retrieve("other")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await client(rig).completions.create(model="other", prompt="hi")
    assert refused.value.code == "model_not_allowed"


async def test_errors_are_what_the_client_knows(rig):
    rig.know([service("gpt")], [])
    with pytest.raises(openai.NotFoundError) as unknown:
        await client(rig).completions.create(model="no", prompt="hi")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        await client(rig, api_key="sk-wrong").models.list()
    for field in ({"n": 2}, {"temperature": 9}, {"stop": ["a"] * 5}, {"logprobs": 3}):
        with pytest.raises(openai.BadRequestError) as refused:
            await client(rig).completions.create(model="gpt", prompt="hi", **field)
        assert refused.value.param == next(iter(field))
    with pytest.raises(openai.BadRequestError):
        await client(rig).completions.create(model="gpt", prompt=[1, 2])
    assert rig.rows() == []


@pytest.mark.parametrize("how", ["die_after", "error_after", "stop_after"])
async def test_a_model_that_dies_midway_ends_the_stream_with_an_error(rig, how):
    async with FakeTriton(pause=0.01) as fake:
        setattr(fake, how, 2)
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        stream = await client(rig).completions.create(model="gpt", prompt="hi", stream=True)
        texts = []

        async def read():
            async for chunk in stream:
                texts.append(chunk.choices[0].text)  # noqa: PERF401 - kept when it breaks off

        with pytest.raises(openai.APIError) as failed:
            await read()
        assert "".join(texts) == "one two "
        assert "shm" not in str(failed.value.body)
        await until(rig.rows)
        (row,) = rig.rows()
        assert (row.output_tokens, row.state) == (2, "done")
        assert row.status in {500, 502}


async def test_a_client_that_leaves_cancels_the_model_and_leaves_a_record(rig):
    async with FakeTriton(words=["w "] * 500, pause=0.02) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        stream = await client(rig).completions.create(model="gpt", prompt="hi", stream=True)
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: fake.cancelled == 1)
        await until(lambda: [row.state for row in rig.rows()] == ["done"])
        (row,) = rig.rows()
        assert row.status == 499
        assert 1 <= row.output_tokens < 400
        assert rig.line("gpt").running == 0


async def test_the_admin_client_reads_usage_by_tenant_and_model(rig):
    async with FakeTriton() as fake:
        rig.know(
            [service("gpt"), service("mini", "Embed")],
            endpoints("gpt", fake.port) + endpoints("mini", fake.port),
        )
        for _ in range(3):
            await client(rig).completions.create(model="gpt", prompt="hi")
        await client(rig).embeddings.create(model="mini", input="a b c")
    admin = openai.AsyncOpenAI(
        base_url=f"{rig.admin_url}/v1", api_key="-", admin_api_key=ADMIN, max_retries=0
    )
    usage = admin.admin.organization.usage
    page = await usage.completions(start_time=1767225600, bucket_width="1d", limit=31,
                                   group_by=["project_id", "model"])  # fmt: skip
    found = []
    while True:
        found += [result for bucket in page.data for result in bucket.results]
        if not page.has_more:
            break
        page = await usage.completions(start_time=1767225600, bucket_width="1d", limit=31,
                                       group_by=["project_id", "model"], page=page.next_page)  # fmt: skip
    (only,) = found
    assert (only.project_id, only.model, only.num_model_requests) == ("acme", "gpt", 3)
    assert (only.input_tokens, only.output_tokens) == (12, 9)
