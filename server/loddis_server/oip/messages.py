"""Requests for inference and their answers: JSON, with the bytes of binary tensors behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from loddis_server.oip.tensors import InputTensor, OutputTensor, encode
from loddis_server.problems import (
    BAD_TENSOR,
    BODY_TOO_LARGE,
    MALFORMED_REQUEST,
    NOT_IMPLEMENTED,
    UNSUPPORTED_MEDIA,
    ProblemError,
)

__all__ = [
    "HEADER_LENGTH",
    "MAX_JSON_BYTES",
    "InferRequest",
    "InferResponse",
    "RequestedOutput",
    "answer",
    "parse_request",
    "read_header_length",
]

HEADER_LENGTH = "inference-header-content-length"
# As Python objects, numbers in JSON take some twenty times the room that they have as an array.
MAX_JSON_BYTES = 8 * 2**20


class RequestedOutput(BaseModel):
    """A tensor that the answer is to have."""

    name: str = Field(min_length=1, max_length=200, examples=["boxes"])
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="`binary_data`: whether its values come as bytes behind the JSON."
    )


class InferRequest(BaseModel):
    """A request for inference."""

    id: str | None = Field(default=None, max_length=200, description="Comes back in the answer.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="`binary_data_output`: outputs as bytes unless asked for otherwise. For `image`: "
        "`score_threshold`, `max_detections`. `timeout` and `priority` are taken and not looked at.",
    )
    inputs: list[InputTensor] = Field(min_length=1, max_length=16)
    outputs: list[RequestedOutput] | None = Field(default=None, max_length=16, description="All of them if none.")


class InferResponse(BaseModel):
    """The answer to a request for inference."""

    model_name: str = Field(examples=["sky-nano"])
    model_version: str = Field(examples=["4"])
    id: str | None = Field(default=None, description="Of the request.")
    outputs: list[OutputTensor]


def read_header_length(headers: Mapping[str, str]) -> int | None:
    """Check the headers of a request, and give the bytes of its JSON where more follows.

    Raises:
        ProblemError: A body that is compressed, or a length that is none or too large.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(
            UNSUPPORTED_MEDIA, f"the Content-Encoding {encoding[:40]} is not supported; send it as it is"
        )
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ProblemError(
            MALFORMED_REQUEST, f"Inference-Header-Content-Length must be a number of bytes, got {text[:40]!r}"
        )
    _check_json_size(int(text))
    return int(text)


def parse_request(body: bytes, json_bytes: int | None) -> tuple[InferRequest, list[memoryview]]:
    """Read a request.

    Args:
        body: Of the HTTP request.
        json_bytes: Of its JSON; all of it if none.

    Returns:
        The request, and the bytes of each input: empty for those that are in the JSON.

    Raises:
        ProblemError: It is not what the protocol says, or too large.
    """
    size = len(body) if json_bytes is None else json_bytes
    _check_json_size(size)
    if size > len(body):
        raise ProblemError(MALFORMED_REQUEST, f"the JSON has {size} bytes by its header, the whole body {len(body)}")
    view = memoryview(body)
    try:
        request = InferRequest.model_validate(orjson.loads(view[:size]))
    except orjson.JSONDecodeError as error:
        raise ProblemError(MALFORMED_REQUEST, f"the request is not JSON: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ProblemError(MALFORMED_REQUEST, f"{place or 'the request'}: {fault['msg']}") from None
    return request, _split(request.inputs, view[size:])


def answer(
    request: InferRequest, model_name: str, model_version: str, outputs: Mapping[str, NDArray[np.generic]]
) -> tuple[bytes, int | None]:
    """Write the answer to a request.

    Args:
        request: Says which outputs, and in which form.
        model_name: That answers.
        model_version: That answers.
        outputs: All that there are.

    Returns:
        The body, and the bytes of its JSON where binary tensors follow.

    Raises:
        ProblemError: An output is asked for that there is not, or in a form that there is not.
    """
    heads: list[dict[str, Any]] = []
    payloads: list[bytes] = []
    by_default = _flag(request.parameters, "binary_data_output", default=False)
    for wanted in request.outputs or [RequestedOutput(name=name) for name in outputs]:
        _check_output(wanted, outputs)
        as_binary = _flag(wanted.parameters, "binary_data", default=by_default)
        head, payload = encode(wanted.name, outputs[wanted.name], as_binary=as_binary)
        heads.append(head)
        payloads.append(payload)
    document: dict[str, Any] = {"model_name": model_name, "model_version": model_version, "outputs": heads}
    if request.id is not None:
        document["id"] = request.id
    text = orjson.dumps(document)
    has_binary = any("parameters" in head for head in heads)
    return b"".join([text, *payloads]), len(text) if has_binary else None


def _check_json_size(size: int) -> None:
    if size > MAX_JSON_BYTES:
        raise ProblemError(
            BODY_TOO_LARGE, f"the JSON of a request may have {MAX_JSON_BYTES} bytes, got {size}: send tensors as binary"
        )


def _split(inputs: list[InputTensor], binary: memoryview) -> list[memoryview]:
    """Give each input its bytes."""
    parts: list[memoryview] = []
    start = 0
    for tensor in inputs:
        if any(name.startswith("shared_memory") for name in tensor.parameters):
            raise ProblemError(NOT_IMPLEMENTED, f"{tensor.name}: shared memory is not available: send the data")
        size = tensor.parameters.get("binary_data_size", 0)
        if type(size) is not int or not 0 <= size <= len(binary) - start:
            raise ProblemError(
                BAD_TENSOR, f"{tensor.name}: binary_data_size is {str(size)[:40]}, {len(binary) - start} bytes are left"
            )
        if (tensor.data is None) == ("binary_data_size" not in tensor.parameters):
            raise ProblemError(BAD_TENSOR, f"{tensor.name}: expected either data or binary_data_size")
        parts.append(binary[start : start + size])
        start += size
    if start != len(binary):
        raise ProblemError(BAD_TENSOR, f"{len(binary) - start} bytes behind the JSON belong to no input")
    return parts


def _check_output(wanted: RequestedOutput, outputs: Mapping[str, NDArray[np.generic]]) -> None:
    if wanted.name not in outputs:
        raise ProblemError(BAD_TENSOR, f"no output {wanted.name!r} for this input; there is: {', '.join(outputs)}")
    for name in wanted.parameters:
        if name.startswith(("shared_memory", "classification")):
            raise ProblemError(NOT_IMPLEMENTED, f"{wanted.name}: the parameter {name[:40]} is not available")


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProblemError(MALFORMED_REQUEST, f"the parameter {name} must be true or false, got {str(value)[:40]}")
    return value
