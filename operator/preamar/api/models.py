"""Which model is served: where it is, what it is, and what is done to it before it is."""

from enum import StrEnum

from pydantic import Field

from preamar.api.fields.scalars import Digest, Fraction, ModelName, ObjectName
from preamar.api.fields.uri import Source
from preamar.api.meta import SpecModel
from preamar.api.rules import Rule


class Format(StrEnum):
    """What the model's files are."""

    AUTO = "Auto"
    ONNX = "ONNX"
    TENSORRT = "TensorRT"
    TORCHSCRIPT = "TorchScript"
    SAFETENSORS = "SafeTensors"
    PYTHON = "Python"
    TENSORRT_LLM = "TensorRTLLM"
    VLLM = "VLLM"


NEEDS_GPU = (Format.TENSORRT, Format.TENSORRT_LLM, Format.VLLM)
"""Formats that nothing serves without one."""


class Task(StrEnum):
    """What callers ask of it."""

    INFER = "Infer"
    EMBED = "Embed"
    GENERATE = "Generate"
    RANK = "Rank"


class Trust(StrEnum):
    """Whether the model may bring code."""

    DATA = "Data"
    CODE = "Code"


class Precision(StrEnum):
    """The number format after optimisation."""

    NONE = "None"
    FP16 = "FP16"
    BF16 = "BF16"
    INT8 = "INT8"
    FP8 = "FP8"
    FP4 = "FP4"


class SparsityType(StrEnum):
    """Which weights may be dropped."""

    NONE = "None"
    TWO_FOUR = "TwoFour"
    UNSTRUCTURED = "Unstructured"
    STRUCTURED = "Structured"


class Engine(StrEnum):
    """What the model is compiled for."""

    NONE = "None"
    TENSORRT = "TensorRT"


class Model(SpecModel):
    """Which model, where from, and what it may do."""

    name: ModelName | None = Field(
        default=None,
        description="The name callers use, such as minilm; it cannot be changed; the resource's name when left out.",
    )
    uri: Source = Field(
        description="Where the model is, such as pvc://models/minilm (pvc, image, oci, s3, gs, az, hf or https)."
    )
    digest: Digest | None = Field(
        default=None,
        description="The content's digest, checked before use, such as sha256: and 64 hexadecimal digits.",
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="A Secret of this namespace with credentials for the source, such as hub-login.",
    )
    format: Format = Field(
        default=Format.AUTO,
        description="The files' format, such as ONNX; Auto recognises it.",
    )
    task: Task = Field(
        default=Task.INFER, description="What callers ask of it: Infer, Embed, Generate or Rank."
    )
    trust: Trust = Field(
        default=Trust.DATA,
        description="Data, or Code to allow formats which run code of the model's author on load.",
    )
    rules = (
        Rule(
            "self.format != 'Python' || self.trust == 'Code'",
            lambda m: m.format != Format.PYTHON or m.trust == Trust.CODE,
            "must be Code for format Python, which runs the author's code on load",
            ".trust",
        ),
    )


class Sparsity(SpecModel):
    """How much of the model may be left out."""

    type: SparsityType = Field(
        default=SparsityType.NONE,
        description="None, TwoFour (two of each four), Unstructured or Structured.",
    )
    ratio: Fraction = Field(
        default="0.5", description='The share of weights to drop, from "0" to "1", such as "0.5".'
    )


class Optimize(SpecModel):
    """How the model is made smaller and faster before it is served."""

    precision: Precision = Field(
        default=Precision.NONE,
        description="The number format to convert to, such as INT8; None keeps the model's own.",
    )
    sparsity: Sparsity = Field(default=Sparsity(), description="Which weights may be dropped.")
    engine: Engine = Field(
        default=Engine.NONE, description="What to compile for: None or TensorRT."
    )
    calibration_uri: Source | None = Field(
        default=None, description="Sample inputs to calibrate with, such as pvc://data/samples."
    )
    tolerance: Fraction = Field(
        default="0.01",
        description='The worst relative error against the original, such as "0.01"; worse is not published.',
    )
