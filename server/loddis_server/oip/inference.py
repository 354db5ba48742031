"""The way of a request for inference through the server's pipeline: each of its frames is a job like any other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loddis_runtime.detections import Detections
from loddis_runtime.detector import PreparedFrame
from loddis_runtime.frames import Frame
from loddis_server.admission import Ticket
from loddis_server.bodies import QUICK_BYTES, FrameReader
from loddis_server.jobs import DetectionJob
from loddis_server.models import ServedModel
from loddis_server.oip.signature import FRAMES, pad
from loddis_server.problems import BAD_PARAMETER, NOT_IMPLEMENTED, ProblemError

__all__ = ["make_jobs", "outputs_of", "read_options"]

MAX_DETECTIONS = 100_000
OVERLOOKED = frozenset({"binary_data_output", "timeout", "priority"})  # the first belongs to the message


class TensorJob(DetectionJob):
    """A frame that comes as the network's input and goes as its output.

    Attributes:
        tensor: ``(T, h, w)``.
        candidates: ``(K, 6)``, once the job is done.
    """

    def __init__(self, tensor: NDArray[np.float32], model: ServedModel, ticket: Ticket, *, is_quick: bool) -> None:
        super().__init__(FrameReader(lambda: tensor[-1], is_quick), model, ticket)
        self.tensor = tensor
        self.candidates: NDArray[np.float32] | None = None

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Take the tensor as it is."""
        return PreparedFrame.of(frame, self.tensor)

    @property
    def finish_key(self) -> Hashable:
        """Nothing is gained by finishing it together with others."""
        return self

    def finish_alike(self, jobs: Sequence[DetectionJob], raw: NDArray[np.float32]) -> list[Detections]:
        """Keep the candidates, and choose none of them."""
        del jobs
        (self.candidates,) = raw
        return [Detections.empty(self.model.detector.manifest.classes)]


def make_jobs(
    name: str, array: NDArray[Any], model: ServedModel, ticket: Ticket, options: Mapping[str, Any]
) -> list[DetectionJob]:
    """Give a job for each frame of an input. Call on the event loop.

    Args:
        name: Of the input.
        array: As `signature.read_input` gives it.
        model: To detect with.
        ticket: Of the request.
        options: As `read_options` gives them.
    """
    is_quick = array.nbytes <= QUICK_BYTES
    if name == FRAMES:
        return [TensorJob(tensor, model, ticket, is_quick=is_quick) for tensor in array]
    return [DetectionJob(FrameReader(partial(_same, frame), is_quick), model, ticket, **options) for frame in array]


def outputs_of(jobs: list[DetectionJob], found: list[Detections]) -> dict[str, NDArray[Any]]:
    """Give the outputs of a request whose jobs are done."""
    raw = [job.candidates for job in jobs if isinstance(job, TensorJob) and job.candidates is not None]
    return {"detections": np.stack(raw)} if raw else pad(found)


def read_options(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters of a request.

    Args:
        name: Of its input.
        parameters: All of them.

    Returns:
        Those that say how to detect.

    Raises:
        ProblemError: One is unknown, has no meaning for the input or no value that it may have.
    """
    options: dict[str, Any] = {}
    for parameter, value in parameters.items():
        if parameter in OVERLOOKED:
            continue
        if parameter.startswith("sequence_"):
            raise ProblemError(NOT_IMPLEMENTED, f"{parameter}: each request stands for itself; /v1/streams keep state")
        if name == FRAMES or parameter not in ("score_threshold", "max_detections"):
            raise _fault(parameter, f"there is no such parameter for {name}")
        if parameter == "score_threshold":
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise _fault(parameter, f"expected a number from 0 to 1, got {str(value)[:40]}")
        elif type(value) is not int or not 1 <= value <= MAX_DETECTIONS:
            raise _fault(parameter, f"expected a whole number from 1 to {MAX_DETECTIONS}, got {str(value)[:40]}")
        options[parameter] = value
    return options


def _same(frame: Frame) -> Frame:
    return frame


def _fault(parameter: str, message: str) -> ProblemError:
    parameter = parameter[:100]
    errors = [{"parameter": parameter, "message": message}]
    return ProblemError(BAD_PARAMETER, f"{parameter}: {message}", errors=errors)
