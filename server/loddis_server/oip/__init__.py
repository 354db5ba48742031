"""The Open Inference Protocol, version 2, over HTTP, with binary tensors: clients of KServe and Triton work unchanged.

    tensors      a tensor in JSON or as bytes, and the array it is
    messages     requests for inference and their answers
    signature    which tensors a model takes and gives; its metadata and configuration
    inference    the way of a request through the server's pipeline
    statistics   what was inferred so far, in the form of Triton's extension

Legend: B frames of a request, T frames of the window, h w network pixels, H W pixels of a frame, K candidates,
N detections of the frame that has most.
"""

from __future__ import annotations
