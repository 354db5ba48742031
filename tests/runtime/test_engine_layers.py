"""TensorRT's account of an engine, in the words of its versions."""

from __future__ import annotations

import pytest

from loddis_runtime.engines.layers import (
    LayerPrecision,
    count_precisions,
    is_layer_information,
    main_precision,
    read_precisions,
)

RTX_TENSOR = (
    "Name: {name}, Dimensions: [1,16,64,80], Strides: [81920,1,1280,16], StrideOrder: [3,0,2,1], Datatype: {kind}, "
    "Format: (NHWC) Channel major format"
)


def rtx_layer(name: str, kind: str, inputs: list[str], constants: list[str], node: str) -> str:
    def tensors(kinds: list[str]) -> str:
        return ", ".join(f"{{ {RTX_TENSOR.format(name=f'__my{i}', kind=each)} }}" for i, each in enumerate(kinds))

    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {tensors(inputs)}], Constants: [ {tensors(constants)}], "
        f"Outputs: [ {tensors(['Float'])}], TacticName: , StreamId: 0, Metadata: [ONNX Layer: {node}][ONNX Layer: act]"
    ).replace("[ ]", "[]")


@pytest.mark.parametrize(
    ("inputs", "constants", "precision"),
    [
        (["Half"], ["Half", "Half"], "fp16"),
        (["Float"], ["Float"], "fp32"),
        (["Int8"], ["Int8", "Float", "Float"], "int8"),
        (["Half", "Float"], ["Half"], "fp16"),  # adds what comes round it
        (["Float"], ["Int8", "Float"], "fp32"),  # weights alone are quantised: it computes in float
        (["Float"], ["Half"], "fp32"),
        (["BFloat16"], ["BFloat16"], "bf16"),
        (["Int64", "Half"], [], "fp16"),
    ],
)
def test_a_convolution_runs_in_the_type_of_weights_and_activations(
    inputs: list[str], constants: list[str], precision: LayerPrecision
) -> None:
    text = "Layers:\n" + rtx_layer("__myl_CorrSilu_0", "runtime_fusion", inputs, constants, "conv_1")
    assert is_layer_information(text)
    assert read_precisions(text, ["conv_1"]) == {"conv_1": precision}


@pytest.mark.parametrize(
    ("layout", "weights", "precision"),
    [
        ("Channel major FP16 format where channel % 8 == 0", "Half", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "Int8", "int8"),
        ("Row major linear FP32", "Float", "fp32"),
        ("Row major linear FP32", "Half", "fp32"),
        ("Half", "Half", "fp16"),
    ],
)
def test_the_words_of_tensorrt_10(layout: str, weights: str, precision: LayerPrecision) -> None:
    tensor = f"Location: Device, Dimensions: [1,16,64,80], Format/Datatype: {layout}"
    text = (
        f"Layers:\nName: conv_1 + PWN(PWN(sigmoid_1), mul_1), LayerType: CaskConvolution, "
        f"Inputs: [ {{ Name: frames, {tensor} }}], Outputs: [ {{ Name: mul_1_out, {tensor} }}], "
        f'ParameterType: Convolution, Kernel: [3,3], Weights: {{"Type": "{weights}", "Count": 864}}, '
        f'Bias: {{"Type": "Float", "Count": 16}}, TacticName: sm80_xmma, StreamId: 0, Metadata: '
    )
    assert read_precisions(text, ["conv_1"]) == {"conv_1": precision}


def test_layers_that_prepare_data_do_not_count_and_the_widest_profile_does() -> None:
    lines = [
        rtx_layer("__myl_Cast_0", "kgen", ["Float"], ["Half"], "conv_1"),
        rtx_layer("conv_1_myl0_1", "correlation", ["Half"], ["Half"], "conv_1"),
        rtx_layer("conv_2_myl0_2", "correlation", ["Half"], ["Half"], "conv_2"),
        rtx_layer("conv_2 [profile 1]_myl1_2", "correlation", ["Float"], ["Float"], "conv_2"),
    ]
    assert read_precisions("\n".join(lines), ["conv_1", "conv_2"]) == {"conv_1": "fp16", "conv_2": "fp32"}


def test_names_are_whole_words() -> None:
    text = rtx_layer("x", "correlation", ["Half"], ["Half"], "conv_11") + "\n"
    text += rtx_layer("y", "correlation", ["Float"], ["Float"], "/head/conv_1")
    assert read_precisions(text, ["conv_1"]) == {}
    assert read_precisions(text, ["conv_11", "/head/conv_1"]) == {"conv_11": "fp16", "/head/conv_1": "fp32"}


@pytest.mark.parametrize("text", ["", "Layers:", "Layers:\nconv_1\nconv_2", "[V] Chose Runner Type: Myelin"])
def test_an_engine_that_tells_names_only_tells_no_precision(text: str) -> None:
    assert read_precisions(text, ["conv_1"]) == {}
    assert not is_layer_information(text)


def test_the_precision_of_most() -> None:
    counts = count_precisions({"a": "fp32", "b": "int8", "c": "int8", "d": "fp16"})
    assert list(counts.items()) == [("int8", 2), ("fp16", 1), ("fp32", 1)]
    assert main_precision(counts) == "int8"
    assert main_precision({"fp32": 3, "int8": 1}) == "fp32"
    assert main_precision({"fp32": 2, "fp16": 2}) == "fp16"
