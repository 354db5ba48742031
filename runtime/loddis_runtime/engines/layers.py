"""Which precision an engine's convolutions really run in, read from TensorRT's own account of the engine.

TensorRT tells the layers of an engine a line each: the engine inspector's one-line format and, where no GPU is there to
load the engine for the inspector, the same text that the builder logs about what it has just built. Versions differ in
words (`Datatype`, `Format/Datatype`; `Half`, `FP16`), not in kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

__all__ = ["LayerPrecision", "count_precisions", "is_layer_information", "main_precision", "read_precisions"]

LayerPrecision = Literal["int8", "fp8", "fp16", "bf16", "fp32"]

BYTES: dict[LayerPrecision, int] = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4}
WORDS: dict[str, LayerPrecision] = {
    "int8": "int8",
    "fp8": "fp8",
    "float8": "fp8",
    "half": "fp16",
    "fp16": "fp16",
    "float16": "fp16",
    "bf16": "bf16",
    "bfloat16": "bf16",
    "float": "fp32",
    "fp32": "fp32",
    "float32": "fp32",
}
PREPARING = {"kgen", "Reformat", "Constant", "NoOp", "signal", "wait"}  # kinds that move and scale data for others

LAYER = re.compile(r"^\s*Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), (?P<rest>.*)$", re.MULTILINE)
SECTION = re.compile(r"\b(?P<title>Inputs|Constants|Outputs): \[(?P<tensors>(?:[^{}\]]*\{[^{}]*\})*)\s*\]")
DATA_TYPE = re.compile(r"(?:Format/)?Data[Tt]ype: (?P<text>[^,}]+)")
WEIGHTS = re.compile(r'\bWeights: \{"?Type"?: "?(?P<text>\w+)')
METADATA = re.compile(r"\[ONNX Layer: (?P<name>[^\]]+)\]")


class _Layer(NamedTuple):
    kind: str
    computes: str  # names of the graph's nodes, as text
    precision: LayerPrecision | None


def is_layer_information(text: str) -> bool:
    """Tell whether a message of TensorRT's log is the account of an engine's layers."""
    return text.lstrip().startswith("Layers:") and ", LayerType: " in text


def read_precisions(information: str, convolutions: Collection[str]) -> dict[str, LayerPrecision]:
    """Find the precision that each convolution runs in.

    A convolution runs in the type of its weights if it takes activations of that type, else in the widest type it
    takes. Where several optimisation profiles hold it, the widest counts.

    Args:
        information: Text of the engine inspector, or of the builder.
        convolutions: Names of the graph's nodes.

    Returns:
        Name → precision, without those that the text does not tell of.
    """
    layers = [_layer(match) for match in LAYER.finditer(information)]
    found: dict[str, LayerPrecision] = {}
    for name in convolutions:
        whole = re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])")
        naming = [layer for layer in layers if layer.precision is not None and whole.search(layer.computes)]
        computing = [layer for layer in naming if layer.kind not in PREPARING] or naming
        precisions = [layer.precision for layer in computing if layer.precision is not None]
        if precisions:
            found[name] = _widest(precisions)
    return found


def count_precisions(precisions: Mapping[str, LayerPrecision]) -> dict[LayerPrecision, int]:
    """Count convolutions by precision, narrowest first."""
    counts = Counter(precisions.values())
    return {precision: counts[precision] for precision in BYTES if counts[precision]}


def main_precision(counts: Mapping[LayerPrecision, int]) -> LayerPrecision:
    """Give the precision of most convolutions (of which there are some), the narrower of two as frequent."""
    return max(counts, key=lambda precision: (counts[precision], -BYTES[precision]))


def _layer(match: re.Match[str]) -> _Layer:
    rest = match["rest"]
    sections = {section["title"]: section["tensors"] for section in SECTION.finditer(rest)}
    inputs = _data_types(sections.get("Inputs", ""))
    constants = _data_types(sections.get("Constants", ""))
    told = WEIGHTS.search(rest)
    weights = _precision(told["text"]) if told else constants[0] if constants else None
    if weights is None:
        precision = _widest(inputs) if inputs else None
    else:
        precision = weights if weights in inputs else _widest([*inputs, weights])
    computes = " ".join(METADATA.findall(rest)) or match["name"]
    return _Layer(match["kind"], f"{computes} {match['name']}", precision)


def _data_types(tensors: str) -> list[LayerPrecision]:
    """Give the floating or quantised types among a list of tensors; indices and flags are left out."""
    types = [_precision(match["text"]) for match in DATA_TYPE.finditer(tensors)]
    return [precision for precision in types if precision is not None]


def _precision(text: str) -> LayerPrecision | None:
    """Find the type in `Half`, or in `Channel major FP16 format where channel % 8 == 0`."""
    words = (WORDS.get(word.lower()) for word in re.findall(r"\w+", text))
    return next((precision for precision in words if precision is not None), None)


def _widest(precisions: Collection[LayerPrecision]) -> LayerPrecision:
    return max(precisions, key=BYTES.__getitem__)
