"""The Open Inference Protocol, spoken by a client that others wrote, and by hand where it would not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from loddis_runtime import load
from loddis_server.oip.messages import MAX_JSON_BYTES
from support.bundles import write_spot_bundle
from support.frame_files import spot_frame
from support.live_server import LiveServer, settings_for

FRAME = spot_frame((40, 30))
TWO = spot_frame((20, 20), (70, 40))


@pytest.fixture
def client(live: LiveServer) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(f"127.0.0.1:{live.port}", network_timeout=30.0, connection_timeout=30.0)
    yield client
    client.close()


def tensor(name: str, array: NDArray[Any], datatype: str, *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def outputs(*names: str, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def expected(repository: Path, frame: NDArray[Any], **options: Any) -> Any:
    with load(repository / "spot" / "1", threads=1) as detector:
        return detector.detect(frame, **options)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("spot")
    assert client.is_model_ready("spot", "1")
    assert not client.is_model_ready("nothing")
    assert not client.is_model_ready("spot", "7")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    described = client.get_model_metadata("spot")
    assert described["versions"] == ["1"]
    assert {one["name"]: (one["datatype"], one["shape"]) for one in described["inputs"]} == {
        "frames": ("FP32", [-1, 1, 64, 96]),
        "image": ("UINT16", [-1, -1, -1]),
    }
    assert described["outputs"][0]["shape"] == [-1, 50, 6]
    configured = client.get_model_config("spot", "1")
    assert configured["input"][0] == {
        "name": "frames",
        "data_type": "TYPE_FP32",
        "dims": [1, 64, 96],
        "optional": True,
    }
    assert configured["max_batch_size"] == 32


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_frames_give_what_the_network_gives(
    client: triton.InferenceServerClient, repository: Path, binary_in: bool, binary_out: bool
) -> None:
    frames = (np.stack([FRAME, TWO])[:, None] / 255).astype(np.float32)
    result = client.infer(
        "spot",
        [tensor("frames", frames, "FP32", binary=binary_in)],
        outputs=outputs("detections", binary=binary_out),
        request_id="mine",
    )
    with load(repository / "spot" / "1", threads=1) as detector:
        wanted = detector.engine.infer(frames)
    np.testing.assert_allclose(result.as_numpy("detections"), wanted, rtol=1e-6)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_version"] == "1"


@pytest.mark.parametrize(("datatype", "dtype"), [("UINT8", np.uint8), ("UINT16", np.uint16), ("FP32", np.float32)])
@pytest.mark.parametrize("binary", [True, False])
def test_an_image_goes_through_the_whole_of_the_server(
    client: triton.InferenceServerClient, repository: Path, datatype: str, dtype: type[np.generic], binary: bool
) -> None:
    frame = spot_frame((40, 30), (70, 20), dtype=dtype)
    names = ("counts", "boxes", "scores", "class_ids", "centroids", "snr")
    result = client.infer(
        "spot", [tensor("image", frame, datatype, binary=binary)], outputs=outputs(*names, binary=binary)
    )
    wanted = expected(repository, frame)
    assert result.as_numpy("counts").tolist() == [2]
    np.testing.assert_allclose(result.as_numpy("boxes"), wanted.boxes_xyxy[None], rtol=1e-6)
    np.testing.assert_allclose(result.as_numpy("scores"), wanted.scores[None], rtol=1e-6)
    np.testing.assert_allclose(result.as_numpy("centroids"), wanted.centroids[None], rtol=1e-6)
    np.testing.assert_allclose(result.as_numpy("snr"), wanted.snr[None], rtol=1e-6)
    assert result.as_numpy("class_ids").tolist() == [[0, 0]]


def test_a_batch_has_rows_up_to_the_frame_with_most(client: triton.InferenceServerClient) -> None:
    empty = np.full_like(FRAME, 60)
    result = client.infer("spot", [tensor("image", np.stack([FRAME, TWO, empty]), "UINT8")])
    assert result.as_numpy("counts").tolist() == [1, 2, 0]
    scores = result.as_numpy("scores")
    assert scores.shape == (3, 2)
    assert (scores > 0).sum(axis=1).tolist() == [1, 2, 0]
    assert result.as_numpy("boxes").shape == (3, 2, 4)


def test_nothing_found_is_an_empty_answer(client: triton.InferenceServerClient) -> None:
    empty = np.full_like(FRAME, 60)
    for binary in (True, False):
        result = client.infer(
            "spot", [tensor("image", empty, "UINT8")], outputs=outputs("boxes", "counts", binary=binary)
        )
        assert result.as_numpy("counts").tolist() == [0]
        assert result.as_numpy("boxes").shape == (1, 0, 4)


def test_parameters_say_how_to_detect(client: triton.InferenceServerClient) -> None:
    for parameters, count in (({"max_detections": 1}, 1), ({"score_threshold": 1}, 0), ({"score_threshold": 0.1}, 2)):
        result = client.infer("spot", [tensor("image", TWO, "UINT8")], parameters=parameters)
        assert result.as_numpy("counts").tolist() == [count]


def test_requests_side_by_side_share_the_batcher(client: triton.InferenceServerClient, live: LiveServer) -> None:
    pending = [client.async_infer("spot", [tensor("image", FRAME, "UINT8")], timeout=None) for _ in range(4)]
    assert [one.get_result().as_numpy("counts").tolist() for one in pending] == [[1]] * 4


def test_statistics_count_what_was_inferred(client: triton.InferenceServerClient) -> None:
    def statistics() -> dict[str, Any]:
        (stats,) = client.get_inference_statistics("spot", "1")["model_stats"]
        return dict(stats)

    before = statistics()
    client.infer("spot", [tensor("image", np.stack([FRAME, TWO]), "UINT8")])
    with pytest.raises(InferenceServerException):
        client.infer("spot", [tensor("image", FRAME.astype(np.float64), "FP64")])
    after = statistics()
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    gained = {
        name: [after["inference_stats"][name][unit] - before["inference_stats"][name][unit] for unit in ("count", "ns")]
        for name in after["inference_stats"]
    }
    assert gained["success"][0] == gained["compute_infer"][0] == gained["fail"][0] == 1
    assert gained["compute_infer"][1] > 0
    assert after["last_inference"] >= before["last_inference"]
    assert [one["name"] for one in client.get_inference_statistics()["model_stats"]] == ["spot"]


def test_models_come_and_go(tmp_path: Path) -> None:
    root = write_spot_bundle(tmp_path).parents[1]
    with LiveServer(settings_for(root)) as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        write_spot_bundle(root, version="2")
        write_spot_bundle(root, name="other")
        (root / "other" / "1" / "model.fp32.onnx").write_bytes(b"")
        client.load_model("spot")
        assert client.infer("spot", [tensor("image", FRAME, "UINT8")]).get_response()["model_version"] == "2"
        client.unload_model("spot:1")
        with pytest.raises(InferenceServerException, match=r"model\.fp32\.onnx"):
            client.load_model("other")
        index = {f"{one['name']}:{one['version']}": one for one in client.get_model_repository_index()}
        assert index["spot:2"]["state"] == "READY"
        assert index["other:1"]["state"] == "UNAVAILABLE"
        assert "model.fp32.onnx" in index["other:1"]["reason"]
        with pytest.raises(InferenceServerException, match="get spot, and without spot there is none"):
            client.unload_model("spot")
        with pytest.raises(InferenceServerException, match="parameters are not available"):
            client.load_model("spot", config="{}")
        ready = httpx.post(f"{server.url}/v2/repository/index", json={"ready": True}, trust_env=False).json()
        assert [one["name"] for one in ready] == ["spot"]
        client.close()


def test_what_does_not_fit_is_refused_with_the_clients_own_error(client: triton.InferenceServerClient) -> None:
    with pytest.raises(
        InferenceServerException, match=r"frames must be \(B, 1, 64, 96\), got \[1, 1, 32, 32\]"
    ) as caught:
        client.infer("spot", [tensor("frames", np.zeros((1, 1, 32, 32), np.float32), "FP32")])
    assert caught.value.status() == "400"
    for array, fault in (
        (np.full((1, 1, 64, 96), 2, np.float32), "in \\[0, 1\\]"),
        (np.full((1, 1, 64, 96), np.nan, np.float32), "without NaN"),
        (np.zeros((33, 1, 64, 96), np.float32), "may have 32 frames"),
    ):
        with pytest.raises(InferenceServerException, match=fault):
            client.infer("spot", [tensor("frames", array, "FP32")])
    both = [tensor("image", FRAME, "UINT8"), tensor("frames", np.zeros((1, 1, 64, 96), np.float32), "FP32")]
    with pytest.raises(InferenceServerException, match="expected one input"):
        client.infer("spot", both)
    with pytest.raises(InferenceServerException, match="no output 'detections' for this input"):
        client.infer("spot", [tensor("image", FRAME, "UINT8")], outputs=outputs("detections", binary=True))
    with pytest.raises(InferenceServerException, match="each request stands for itself"):
        client.infer("spot", [tensor("image", FRAME, "UINT8")], sequence_id=1, sequence_start=True)
    with pytest.raises(InferenceServerException, match="no model 'spot:9' is served"):
        client.infer("spot", [tensor("image", FRAME, "UINT8")], model_version="9")
    with pytest.raises(InferenceServerException, match="Content-Encoding gzip is not supported"):
        client.infer("spot", [tensor("image", FRAME, "UINT8")], request_compression_algorithm="gzip")
    bad = np.full((8, 8), np.inf, np.float32)
    with pytest.raises(InferenceServerException, match="finite"):
        client.infer("spot", [tensor("image", bad, "FP32")])


def test_an_answer_may_be_wanted_compressed_and_comes_as_it_is(client: triton.InferenceServerClient) -> None:
    result = client.infer("spot", [tensor("image", FRAME, "UINT8")], response_compression_algorithm="gzip")
    assert result.as_numpy("counts").tolist() == [1]


def image(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 2], "data": [1, 2, 3, 4], **fields}]}


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "the request: "),
        ({}, "inputs: "),
        ({"inputs": []}, "inputs: "),
        (image(shape=[2, 3]), "shape [2, 3] has 6 values, got 4"),
        (image(shape=[2, -2]), "inputs.0.shape.1: Input should be greater than or equal to 0"),
        (image(shape=[0, 2]), "image must be (B, H, W)"),
        (image(shape=[2, 2.5]), "inputs.0.shape.1"),
        (image(shape=[10**6, 10**6]), "up to 1048576 pixels"),
        (image(shape=[10**15, 2, 2]), "may have 32 frames"),
        (image(datatype="BYTES"), "image must be UINT8 or UINT16 or FP32"),
        (image(data=[1, 2, 3, 256]), "UINT8 holds 0 to 255"),
        (image(data=[1, 2, 3, -1]), "UINT8 holds 0 to 255"),
        (image(data=[1, 2, 3, 2.5]), "numbers that UINT8 can hold"),
        (image(data=["a", "b", "c", "d"]), "numbers that UINT8 can hold"),
        (image(data=[True, False, True, False]), "numbers that UINT8 can hold"),
        (image(data=[[1, 2], [3]]), "rows of different lengths"),
        (image(data=None), "either data or binary_data_size"),
        (image(parameters={"binary_data_size": 4}), "4, 0 bytes are left"),
        (image(parameters={"shared_memory_region": "x"}), "shared memory is not available"),
        ({**image(), "parameters": {"scor_threshold": 1}}, "no such parameter for image"),
        ({**image(), "parameters": {"score_threshold": "1"}}, "expected a number from 0 to 1"),
        ({**image(), "parameters": {"max_detections": 0}}, "expected a whole number from 1"),
        ({**image(), "parameters": {"binary_data_output": "yes"}}, "must be true or false"),
        ({**image(), "outputs": [{"name": "boxes", "parameters": {"classification": 3}}]}, "is not available"),
        (image(name="picture"), "no input 'picture'; there is: frames, image"),
    ],
)
def test_messages_that_no_client_writes_are_named(http: httpx.Client, document: Any, fault: str) -> None:
    refused = http.post("/v2/models/spot/infer", json=document)
    assert 400 <= refused.status_code < 502
    assert set(refused.json()) == {"error"}
    assert fault in refused.json()["error"]


@pytest.mark.parametrize(
    ("body", "header", "fault"),
    [
        (b"{", None, "is not JSON"),
        (b"", None, "expected a body, got 0 bytes"),
        (b"{}", "3", "the JSON has 3 bytes by its header, the whole body 2"),
        (b"{}", "-1", "must be a number of bytes"),
        (b"{}", str(10**12), "may have 8388608 bytes"),
        (b"[" * 100_000, None, "is not JSON"),
        (json.dumps(image()).encode() + b"more", str(len(json.dumps(image()))), "4 bytes behind the JSON"),
        (b" " * (MAX_JSON_BYTES + 1), None, "up to 2097152 bytes"),
    ],
)
def test_bodies_that_no_client_sends_are_named(http: httpx.Client, body: bytes, header: str | None, fault: str) -> None:
    headers = {} if header is None else {"Inference-Header-Content-Length": header}
    refused = http.post("/v2/models/spot/infer", content=body, headers=headers)
    assert 400 <= refused.status_code < 500
    assert fault in refused.json()["error"]


def test_values_behind_a_header_of_any_length_are_read(http: httpx.Client) -> None:
    frame = spot_frame((40, 30), dtype=np.float32)
    head: dict[str, Any] = {"name": "image", "datatype": "FP32", "shape": [64, 96]}
    head["parameters"] = {"binary_data_size": frame.nbytes}
    for padding in range(4):
        text = json.dumps({"inputs": [head]}).encode() + b" " * padding
        headers = {"Inference-Header-Content-Length": str(len(text))}
        answer = http.post("/v2/models/spot/infer", content=text + frame.tobytes(), headers=headers)
        assert answer.json()["outputs"][0] == {"name": "counts", "datatype": "INT32", "shape": [1], "data": [1]}


def test_bodies_of_the_repository_are_read(http: httpx.Client) -> None:
    index = "/v2/repository/index"
    assert http.post(index, content=b"").status_code == 200
    assert http.post(index, content=b"[]").json() == {"error": "expected a JSON object"}
    assert "is not JSON" in http.post(index, content=b"{").json()["error"]
    assert http.post(index, content=gzip.compress(b"{}")).status_code == 400
    assert http.get(index).json() == {"error": "/v2/repository/index does not take GET"}
    assert http.get("/v2/nothing").json() == {"error": "nothing is at /v2/nothing"}
