"""What two processes share stands once: no label of ours and no port that another process must know is
written anywhere in the operator but under ``protocol`` (and the group under ``api``).

Holds: protocol/labels.py, protocol/ports.py
"""

import argparse
import ast
import re
from pathlib import Path

import pytest

from preamar import main
from preamar.protocol import labels, ports
from tests.layout.parsed import nodes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "operator/preamar"
HOME = SOURCES / "protocol"
NUMBERS = {
    number for name, number in vars(ports).items() if name.isupper() and isinstance(number, int)
}
LABEL = re.compile(
    r"(preamar\.dev|\bGROUP)/(?!v1|VERSION)|app\.kubernetes\.io/managed-by|kubernetes\.io/service-name"
)
PORT = re.compile(rf"(?<![\w.-])({'|'.join(map(str, sorted(NUMBERS)))})(?![\w-])")


def repeated(whole):
    """The lines of a module on which a shared word or number is written, docstrings left out."""
    docstrings = {
        id(node.body[0].value)
        for node in whole
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    }
    found = set()
    for node in whole:
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values)
            text = "".join(p if isinstance(p, str) else ast.unparse(p) for p in parts)
            found |= {node.lineno} if LABEL.search(text) else set()
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            value, is_text = node.value, isinstance(node.value, str)
            if is_text and (LABEL.search(value) or PORT.search(value)):
                found.add(node.lineno)
            if type(value) is int and value in NUMBERS:
                found.add(node.lineno)
    return sorted(found)


def test_no_label_and_no_shared_port_is_written_a_second_time():
    again = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES.rglob("*.py")
        if HOME not in path.parents and SOURCES / "api" not in path.parents
        for line in repeated(nodes(path))
    }
    assert not again


@pytest.mark.parametrize(
    "text",
    [
        'LABEL = "preamar.dev/role"', 'label = f"preamar.dev/{word}"', 'label = f"{GROUP}/role"',
        'x = {"app.kubernetes.io/managed-by": "preamar"}', "port = 8002", "at = ports.get('x', 29400)",
        'url = "http://gateway:8080"', 'url = f"http://{ip}:8002/metrics"', 'flag("8091")',
    ],
)  # fmt: skip
def test_a_word_that_is_written_a_second_time_is_found(text):
    assert repeated(list(ast.walk(ast.parse(text)))) == [1]


@pytest.mark.parametrize(
    "text",
    [
        '"""Of preamar.dev/role and 8002."""',
        'x = "00000000-0000-4000-8000-0"',
        "x = 80020",
        "x = 8.0",
        'version = f"{GROUP}/{VERSION}"',
    ],
)
def test_what_only_looks_like_one_is_not(text):
    assert repeated(list(ast.walk(ast.parse(text)))) == []


def test_labels_are_as_they_are_on_objects_that_run():
    """A cluster that is upgraded has objects with these; another word would orphan them."""
    words = (
        "inferenceservice role works-for group member-of revision batch made-of trainingjob attempt"
    )
    words += (
        " conversion scout data stop resize refused fewer resized restarts streak ledger order kopf"
    )
    ours = {text for text in vars(labels).values() if str(text).startswith("preamar.dev/")}
    assert ours == {f"preamar.dev/{word}" for word in words.split()}
    assert labels.OURS == "app.kubernetes.io/managed-by=preamar"


def flags():
    parser = argparse.ArgumentParser()
    main._operator_flags(parser)
    return {action.dest for action in parser._actions}


def test_no_flag_moves_one_end_of_a_port_alone():
    """Of the operator's own ports the other end is found in an EndpointSlice, by their names; the ports
    of pods are what pods are made with, and no flag has a say in them."""
    assert {name for name in flags() if "port" in name} == {"probe_port", "demand_port"}
    service = (ROOT / "charts/preamar/templates/operator/service.yaml").read_text()
    assert re.search(rf"name: demand\n\s+port: {ports.DEMAND}\n\s+targetPort: demand", service)
