"""A tensor in a message: as JSON numbers, or as bytes behind the JSON; and the array it is.

Sizes are checked by the declared shape, with Python's unbounded integers, before any array is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StrictInt

from loddis_server.problems import BAD_TENSOR, ProblemError

__all__ = ["DTYPES", "InputTensor", "OutputTensor", "datatype_of", "encode", "read_array"]

Side = Annotated[StrictInt, Field(ge=0)]
# Little-endian, as the protocol has it on the wire.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "INT32": np.dtype("<i4"),
    "FP32": np.dtype("<f4"),
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


class InputTensor(BaseModel):
    """A tensor of a request."""

    name: str = Field(min_length=1, max_length=200, examples=["image"])
    datatype: str = Field(max_length=20, examples=["UINT16"])
    shape: tuple[Side, ...] = Field(max_length=8, examples=[[1, 512, 640]])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="`binary_data_size`: bytes behind the JSON that are this tensor's."
    )
    data: list[Any] | None = Field(
        default=None, description="Numbers, row by row, flat or nested; none with `binary_data_size`."
    )


class OutputTensor(BaseModel):
    """A tensor of an answer."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(
        default=None, description="`binary_data_size`: bytes behind the JSON that are this tensor's."
    )
    data: list[float] | None = Field(default=None, description="Numbers, row by row, flat.")


def read_array(tensor: InputTensor, binary: memoryview, *, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Give the array of a tensor.

    Args:
        tensor: Its shape was checked against what is allowed.
        binary: Its bytes; empty where it is in JSON.
        dtype: As `DTYPES` has it for the tensor's datatype.

    Returns:
        Of the tensor's shape, aligned; not to be written to.

    Raises:
        ProblemError: The data do not fill the shape, or hold what the type does not.
    """
    count = math.prod(tensor.shape)
    if tensor.data is None:
        if len(binary) != count * dtype.itemsize:
            raise _fault(
                tensor, f"{list(tensor.shape)} of {tensor.datatype} has {count * dtype.itemsize} bytes", binary
            )
        flat = np.frombuffer(binary, dtype=dtype)
        # The JSON before it may end anywhere: engines and OpenCV want values at multiples of their size.
        return np.require(flat.reshape(tensor.shape), requirements=["C", "ALIGNED"])
    try:
        numbers = np.asarray(tensor.data)
    except ValueError:
        raise ProblemError(BAD_TENSOR, f"{tensor.name}: data has rows of different lengths") from None
    if numbers.size != count:
        raise ProblemError(
            BAD_TENSOR, f"{tensor.name}: shape {list(tensor.shape)} has {count} values, got {numbers.size}"
        )
    if numbers.dtype.kind not in ("iuf" if dtype.kind == "f" else "iu"):
        raise ProblemError(BAD_TENSOR, f"{tensor.name}: data must be numbers that {tensor.datatype} can hold")
    if dtype.kind == "u" and not 0 <= int(numbers.min()) <= int(numbers.max()) <= np.iinfo(dtype).max:
        raise ProblemError(BAD_TENSOR, f"{tensor.name}: {tensor.datatype} holds 0 to {np.iinfo(dtype).max}")
    with np.errstate(over="ignore"):  # infinite then, and refused as such
        return np.ascontiguousarray(numbers.reshape(tensor.shape).astype(dtype))


def encode(name: str, array: NDArray[Any], *, as_binary: bool) -> tuple[dict[str, Any], bytes]:
    """Write a tensor of an answer.

    Args:
        name: Of the tensor.
        array: Of a dtype in `DTYPES`.
        as_binary: Whether its values go behind the JSON.

    Returns:
        What goes into the JSON, and behind it.
    """
    head: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype), "shape": list(array.shape)}
    if not as_binary:
        return {**head, "data": array.ravel().tolist()}, b""
    payload = np.ascontiguousarray(array, dtype=DTYPES[head["datatype"]]).tobytes()
    return {**head, "parameters": {"binary_data_size": len(payload)}}, payload


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Give the protocol's name of a dtype."""
    return DATATYPES[dtype.newbyteorder("<")]


def _fault(tensor: InputTensor, expected: str, binary: memoryview) -> ProblemError:
    return ProblemError(BAD_TENSOR, f"{tensor.name}: {expected}, got {len(binary)}")
