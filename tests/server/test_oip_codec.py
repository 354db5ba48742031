"""Messages of the Open Inference Protocol: what is written is read, and what is broken is refused and no more."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from loddis_server.oip.messages import InferRequest, answer, parse_request
from loddis_server.oip.tensors import DTYPES, InputTensor, datatype_of, encode, read_array
from loddis_server.problems import ProblemError

arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(
        DTYPES[name],
        hnp.array_shapes(max_dims=4, max_side=4),
        elements=st.floats(-1e6, 1e6, width=32) if name == "FP32" else None,
    )
)


@given(arrays, st.booleans())
def test_a_tensor_is_read_as_it_was_written(array: NDArray[Any], as_binary: bool) -> None:
    head, payload = encode("x", array, as_binary=as_binary)
    tensor = InputTensor.model_validate(json.loads(json.dumps(head)))
    read = read_array(tensor, memoryview(payload), dtype=DTYPES[tensor.datatype])
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@given(arrays, st.integers(1, 7))
def test_values_at_any_place_of_a_body_are_read_and_aligned(array: NDArray[Any], offset: int) -> None:
    body = bytes(offset) + array.tobytes()
    tensor = InputTensor(name="x", datatype=datatype_of(array.dtype), shape=array.shape)
    read = read_array(tensor, memoryview(body)[offset:], dtype=array.dtype)
    assert read.flags.aligned
    np.testing.assert_array_equal(read, array)


@given(st.lists(st.tuples(arrays, st.booleans()), min_size=1, max_size=4))
def test_several_tensors_share_a_body(given_arrays: list[tuple[NDArray[Any], bool]]) -> None:
    parts = [encode(f"t{index}", array, as_binary=binary) for index, (array, binary) in enumerate(given_arrays)]
    text = json.dumps({"inputs": [head for head, _ in parts]}).encode()
    request, binaries = parse_request(text + b"".join(payload for _, payload in parts), len(text))
    for tensor, binary, (array, _) in zip(request.inputs, binaries, given_arrays, strict=True):
        np.testing.assert_array_equal(read_array(tensor, binary, dtype=array.dtype), array)


@given(arrays)
def test_an_answer_is_one_that_can_be_taken_apart(array: NDArray[Any]) -> None:
    request = InferRequest.model_validate(
        {
            "id": "mine",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}],
            "outputs": [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}],
        }
    )
    body, size = answer(request, "spot", "1", {"a": array, "b": array})
    assert size is not None
    document = json.loads(body[:size])
    assert (document["id"], document["model_name"], document["model_version"]) == ("mine", "spot", "1")
    binary, plain = document["outputs"]
    assert binary["parameters"] == {"binary_data_size": len(body) - size}
    np.testing.assert_array_equal(np.frombuffer(body[size:], array.dtype).reshape(binary["shape"]), array)
    np.testing.assert_array_equal(np.array(plain["data"], array.dtype).reshape(plain["shape"]), array)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
inputs = st.fixed_dictionaries(
    {
        "name": st.just("x") | json_values,
        "datatype": st.just("FP32") | json_values,
        "shape": st.just([2]) | json_values,
    },
    optional={
        "data": st.just([1, 2]) | json_values,
        "parameters": st.just({"binary_data_size": 8}) | st.fixed_dictionaries({"binary_data_size": json_values}),
    },
)


@given(st.lists(inputs, max_size=2), st.binary(max_size=20), st.none() | st.integers(0, 200))
def test_whatever_comes_is_read_or_refused(tensors: list[Any], rest: bytes, size: int | None) -> None:
    text = json.dumps({"inputs": tensors}).encode()
    for length in (len(text), size):
        with contextlib.suppress(ProblemError):  # anything else fails this test
            request, binaries = parse_request(text + rest, length)
            for tensor, binary in zip(request.inputs, binaries, strict=True):
                assert read_array(tensor, binary, dtype=DTYPES["FP32"]).shape == tensor.shape


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**62,)])
def test_a_shape_beyond_memory_is_refused_before_anything_is_made(shape: tuple[int, ...]) -> None:
    tensor = InputTensor(name="x", datatype="FP32", shape=shape)
    with pytest.raises(ProblemError, match="bytes, got 8"):
        read_array(tensor, memoryview(bytes(8)), dtype=DTYPES["FP32"])
