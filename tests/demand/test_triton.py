"""What a model server says becomes a lower bound of its load, or nothing.

Holds: demand/triton.py, protocol/engine_gauges.py
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.demand.triton import Reading, in_flight, read
from preamar.protocol.engine_gauges import MOST_LINES

REAL = (Path(__file__).parent / "triton-2.51.txt").read_text()
TRT = "nv_trt_llm_request_metrics"


def trt(**gauges: float) -> str:
    return "\n".join(
        f'{TRT}{{model="tensorrt_llm",version="1",request_type="{kind}"}} {value}'
        for kind, value in gauges.items()
    )


def test_the_text_of_a_real_server_is_read() -> None:
    assert read(REAL) == {"m": Reading(7.0, 4.0, pytest.approx(2.061825))}
    assert in_flight(read(REAL), {}, 5.0) == 8


def test_what_executes_is_the_mean_of_what_was_executed_since_and_at_least_one_while_any_wait() -> (
    None
):
    before = {"m": Reading(0, 100, 50.0)}
    assert in_flight({"m": Reading(0, 140, 70.0)}, before, 5.0) == 4
    assert in_flight({"m": Reading(3, 140, 70.0)}, before, 5.0) == 7
    assert in_flight({"m": Reading(3, 100, 50.0)}, before, 5.0) == 4
    assert in_flight({"m": Reading(0, 100, 50.0)}, before, 5.0) == 0


def test_one_short_request_since_is_somebody_who_uses_the_model() -> None:
    assert in_flight({"m": Reading(0, 101, 50.01)}, {"m": Reading(0, 100, 50.0)}, 5.0) == 1


def test_one_long_request_that_ended_is_no_crowd() -> None:
    assert in_flight({"m": Reading(0, 101, 350.0)}, {"m": Reading(0, 100, 50.0)}, 5.0) == 1


def test_a_server_that_began_anew_counts_from_zero() -> None:
    before = {"m": Reading(0, 100, 50.0)}
    assert in_flight({"m": Reading(0, 0, 0.0)}, before, 5.0) == 0
    assert in_flight({"m": Reading(0, 30, 20.0)}, before, 5.0) == 4


def test_a_first_reading_tells_what_waits() -> None:
    assert in_flight({"m": Reading(2, 1000, 900.0)}, {}, float("inf")) == 3


def test_a_request_in_a_model_and_in_the_one_it_calls_is_one() -> None:
    now = {"m": Reading(2, 0, 0.0), "m-graph": Reading(1, 0, 0.0)}
    assert in_flight(now, {}, 5.0) == 3


def test_versions_and_gpus_of_a_model_add_up() -> None:
    text = "\n".join(
        f'nv_inference_pending_request_count{{model="m",version="{v}",gpu_uuid="g"}} 2'
        for v in (1, 2)
    )
    assert read(text)["m"].waiting == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (trt(waiting=3, context=1, scheduled=4, max=64, active=7), 7),
        (trt(active=5, max=64, scheduled=4, context=1), 5),
        (trt(waiting=0, scheduled=0, active=0, max=64), 0),
        (trt(max=64, context=1), None),
        ('vllm:num_requests_waiting{model_name="q"} 2\nvllm:num_requests_running{model_name="q"} 6', 8),
        ('vllm:num_requests_running{model="q",version="1"} 6', 6),
    ],
)  # fmt: skip
def test_engines_with_a_queue_of_their_own_tell_it(text: str, told: int | None) -> None:
    assert in_flight(read(text), {}, 5.0) == told
    pending = f'{text}\nnv_inference_pending_request_count{{model="other",version="1"}} 1'
    assert in_flight(read(pending), {}, 5.0) == max(2, told or 0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-3"])
def test_what_is_no_number_is_unknown_and_not_zero(value: str) -> None:
    text = f'nv_inference_pending_request_count{{model="m",version="1"}} {value}'
    assert in_flight(read(text), {}, 5.0) is None


@pytest.mark.parametrize("text", ["", "# nothing\n", 'nv_cpu_utilization 0.5\nother{a="b"} 3'])
def test_what_is_missing_is_unknown_and_not_zero(text: str) -> None:
    assert in_flight(read(text), {}, 5.0) is None


def test_labels_may_hold_anything() -> None:
    text = r'nv_inference_pending_request_count{model="a \"b\" \\ {c} 7",version="1"} 2'
    assert read(text)['a "b" \\ {c} 7'].waiting == 2


def test_a_text_that_the_parser_stumbles_over_is_refused() -> None:
    with pytest.raises(ValueError, match="text format"):
        read('nv_inference_pending_request_count{model="m",\t=ersion="1"} 7')


def test_a_text_without_end_is_refused() -> None:
    line = 'nv_inference_pending_request_count{model="m%d"} 1\n'
    with pytest.raises(ValueError, match="more than"):
        read("".join(line % n for n in range(MOST_LINES + 1)))
    with pytest.raises(ValueError, match="more than"):
        read(line % 1 + f'nv_inference_pending_request_count{{model="{"m" * 5000}"}} 1')


@given(st.text(alphabet='nv_{}="\\,1.e+ #x\n', max_size=60), st.booleans())
def test_nothing_that_a_pod_says_breaks_the_reader(noise: str, named: bool) -> None:
    try:
        found = read(("nv_inference_pending_request_count" if named else "") + noise)
    except ValueError:
        return
    assert in_flight(found, {}, 5.0) is None or in_flight(found, {}, 5.0) >= 0
