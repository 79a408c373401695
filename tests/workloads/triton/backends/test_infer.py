"""Models with tensors of their own: batches, texts, numbers without dimensions, bad requests.

Holds: preamar_model/backends/answers.py, preamar_model/backends/infer.py,
preamar_model/backends/invalid.py
"""

import json
import threading

import graphs
from running import build_here as build


def tensor(name: str, kind: str, shape: list[int], data: list) -> dict:
    return {"name": name, "datatype": kind, "shape": shape, "data": data}


def test_a_free_first_dimension_is_a_batch(served):
    config = json.loads(served.get("/v2/models/scale/config")[1])
    assert config["max_batch_size"] == 8
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    status, answer = served.infer("scale", tensor("x", "FP32", [2, 3], [1, 2, 3, 4, 5, 6]))
    assert (status, answer["y"]["data"]) == (200, [3, 5, 7, 9, 11, 13])


def test_joined_requests_get_their_own_rows_back(served):
    wrong = []

    def ask(n: int) -> None:
        _, answer = served.infer("scale", tensor("x", "FP32", [1, 3], [n, n, n]))
        if answer["y"]["data"] != [2 * n + 1] * 3:
            wrong.append((n, answer))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_texts_and_truths_travel(served):
    status, answer = served.infer(
        "words",
        tensor("text", "BYTES", [2, 2], ["a", "é", "", "世界"]),
        tensor("number", "INT64", [2, 1], [-1, 5]),
    )
    assert status == 200, answer
    assert answer["same"]["data"] == ["a", "é", "", "世界"]
    assert answer["positive"]["data"] == [False, True]


def test_numbers_without_dimensions_are_called_as_one(served):
    assert json.loads(served.get("/v2/models/square/config")[1])["max_batch_size"] == 0
    status, answer = served.infer(
        "square", tensor("number", "INT32", [1], [7]), tensor("row", "FP64", [2], [0.5, 1.5])
    )
    assert status == 200, answer
    assert answer["square"]["data"] == [49]
    assert answer["double"]["data"] == [1.0, 3.0]


def test_a_model_is_warmed_with_zeros_and_served_whatever_it_makes_of_them(tmp_path, served):
    """`scale`, which is there already, was warmed too, and nothing failed in it."""
    order = {"name": "picky", "source": str(graphs.picky(tmp_path / "m.onnx")), "task": "Infer"}
    assert build(order, tmp_path / "built").code == 0
    served.invite(tmp_path / "built", "picky")
    assert served.log.read_text().count("a call of zeros to warm the model failed") == 1
    status, answer = served.infer("picky", tensor("x", "FP32", [1, 1], [7]))
    assert (status, answer["y"]["data"]) == (200, [30])


def test_a_wrong_shape_is_the_callers_error(served):
    status, answer = served.infer("scale", tensor("x", "FP32", [1, 4], [1, 2, 3, 4]))
    assert status == 400
    assert "shape" in answer["error"]
