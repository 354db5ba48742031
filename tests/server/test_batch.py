"""Several frames in one request."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from loddis_server.stream_schemas import BatchResponse
from support.frame_files import npy_file, png_file, spot_frame, tiff_file
from support.live_server import LiveServer, settings_for

PLACES = ((20.4, 15.2), (70.1, 40.6), (50.5, 30.5))


def form(*frames: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("frame", (name, data)) for name, data in frames]


def test_every_frame_has_its_own_answer_in_order(http: httpx.Client) -> None:
    files = (png_file(spot_frame(PLACES[0])), npy_file(spot_frame(PLACES[1])), tiff_file(spot_frame(PLACES[2])))
    named = [(f"{index}", data) for index, data in enumerate(files)]
    response = http.post("/v1/detect/batch", files=form(*named))
    assert response.status_code == 200, response.text
    answer = BatchResponse.model_validate_json(response.content)
    assert [item.name for item in answer.results] == ["0", "1", "2"]
    for item, place in zip(answer.results, PLACES, strict=True):
        assert item.problem is None
        assert item.result is not None
        (detection,) = item.result.detections
        assert detection.centroid_xy == pytest.approx(place, abs=0.1)


def test_a_broken_frame_has_a_problem_in_its_place_and_the_others_are_answered(http: httpx.Client) -> None:
    whole = png_file(spot_frame(PLACES[0]))
    response = http.post(
        "/v1/detect/batch", files=form(("a", whole), ("b", whole[:-30]), ("c", b"GIF89a"), ("d", whole))
    )
    answer = BatchResponse.model_validate_json(response.content)
    kinds = [item.problem.type if item.problem else None for item in answer.results]
    assert kinds == [None, "/problems/truncated-image", "/problems/unsupported-media", None]
    assert [item.result is None for item in answer.results] == [False, True, True, False]


def test_the_options_hold_for_all(http: httpx.Client) -> None:
    frame = png_file(spot_frame(*PLACES))
    response = http.post("/v1/detect/batch", params={"max_detections": 1}, files=form(("a", frame), ("b", frame)))
    answer = BatchResponse.model_validate_json(response.content)
    assert [len(item.result.detections) for item in answer.results if item.result] == [1, 1]


FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ({"content": png_file(spot_frame()), "headers": {"Content-Type": "image/png"}}, 415, "unsupported-media"),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "empty-body"),
        (
            {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "malformed-request",
        ),
        ({"files": [("picture", ("a", b"x"))]}, 422, "bad-parameter"),
        ({"files": form(("a", b"x")), "params": {"model": "none"}}, 404, "unknown-model"),
        ({"files": form(("a", b"x")), "params": {"return": "image"}}, 422, "bad-parameter"),
    ],
)
def test_what_is_no_batch_is_refused(http: httpx.Client, how: dict[str, object], status: int, kind: str) -> None:
    response = http.post("/v1/detect/batch", **how)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{kind}")


def test_a_batch_has_a_limit(repository: Path) -> None:
    with (
        LiveServer(settings_for(repository, max_batch_frames=3)) as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        frame = png_file(spot_frame())
        assert http.post("/v1/detect/batch", files=form(*[("a", frame)] * 3)).status_code == 200
        refused = http.post("/v1/detect/batch", files=form(*[("a", frame)] * 4))
        assert refused.status_code == 422
        assert "1 to 3 parts" in refused.json()["detail"]
