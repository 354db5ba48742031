"""Checkpoint in, bundle out; and no bundle where anything is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from pydantic import ValidationError

from loddis_export import bundle
from loddis_export.bundle import describe, export_bundle
from loddis_export.cli import Bundle, Export
from loddis_export.engine import EngineSettings, build_engines
from loddis_export.errors import ExportError, ParityError
from loddis_export.layer_search import Trial
from loddis_export.parity import Reference, compare_outputs
from loddis_export.parity_report import ParityReport, PrecisionParity
from loddis_export.settings import Credit, ExportSettings, ParityLimits, ParitySettings
from loddis_export.strip import strip_checkpoint
from loddis_runtime import load
from loddis_runtime.command import run
from loddis_runtime.intensity import FullRange
from loddis_trainer.data import DataError, DomainDataset
from loddis_trainer.errors import CheckpointError
from loddis_trainer.evaluate import evaluate
from loddis_trainer.metrics import common_threshold
from loddis_trainer.models import build_detector
from loddis_trainer.torch_engine import wrap_detector
from support.domains import SIZE_HW, write_coco_domain

CELLS = SIZE_HW[0] // 8 * (SIZE_HW[1] // 8)
LOOSE = {"map50": 0.3, "pd": 0.3, "group_pd": 0.3, "fa_per_frame": 1.0, "unmatched": 0.3}


@pytest.fixture
def settings(domains: Path) -> ExportSettings:
    return ExportSettings.model_validate(
        {
            "data_root": domains,
            "cache_dir": domains / "cache",
            "evaluate": ["dark:test", "bright:test"],
            "credit": ["dark=CC0 1.0; a camera", "bright=CC BY 4.0; another"],
            "threads": 1,
            # Ten frames and a model of sixty steps: a single target is a tenth.
            "parity": {"fp16": LOOSE, "int8": LOOSE},
        }
    )


def test_a_model_of_several_tasks_is_chosen_and_compared_on_all_of_them(
    checkpoint: Path, domains: Path, settings: ExportSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "best"
    shutil.copytree(checkpoint, folder)
    info = json.loads((folder / "checkpoint.json").read_text())
    info["domains"][1]["role"] = "task"
    (folder / "checkpoint.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"bright.*val"):  # it has none
        export_bundle(folder, tmp_path / "none" / "1", settings, progress=False)
    both = settings.model_copy(update={"threshold_on": ["dark:val", "bright:test"], "precisions": ["fp32", "int8"]})
    exported = export_bundle(folder, tmp_path / "spots" / "1", both, progress=False)
    assert exported.parity.domain == "dark:val, bright:test"
    assert exported.parity.frames == 10 + 3
    assert {"dark:val", "bright:test"} < {group.label for group in exported.parity.precisions[0].groups}
    card = (exported.path / "MODEL_CARD.md").read_text()
    assert "chosen on `dark:val`, `bright:test` for at most 0.1 false alarms per frame, mean of the domains" in card
    with load(exported.path, threads=1, precision="fp32") as detector:
        curves = {}
        for name in both.threshold_on:
            domain, _, split = name.partition(":")
            dataset = DomainDataset.open(domains / domain, split, cache_dir=domains / "cache", progress=False)
            curves[name] = evaluate(detector, dataset, measure=False, progress=False).roc
        threshold = detector.manifest.score_threshold
    alarms = [curve.at_threshold(threshold)[1] for curve in curves.values()]
    assert np.mean(alarms) <= settings.max_false_alarms
    assert threshold == pytest.approx(common_threshold(list(curves.values()), settings.max_false_alarms), abs=1e-4)
    assert all(curve.at_threshold(threshold)[0] > 0 for curve in curves.values())
    with pytest.raises(ValidationError, match="dark:val is named twice"):
        ExportSettings(threshold_on=["dark:val", "dark:val"])


def test_a_bundle_has_everything_and_detects_what_the_checkpoint_does(
    checkpoint: Path, domains: Path, settings: ExportSettings, tmp_path: Path
) -> None:
    out = tmp_path / "spots" / "3"
    exported = export_bundle(checkpoint, out, settings, progress=False)
    assert sorted(file.name for file in out.iterdir()) == [
        "MODEL_CARD.md",
        "manifest.json",
        "model.fp16.onnx",
        "model.fp32.onnx",
        "model.int8.onnx",
        "parity.json",
    ]
    assert [entry.name for entry in out.parent.iterdir()] == ["3"]
    with load(out, threads=1, precision="fp32") as detector:
        manifest = detector.manifest
        assert (manifest.name, manifest.version, manifest.max_detections) == (
            "spots",
            "3",
            CELLS,
        )  # all there are, whatever the checkpoint was validated with
        assert [(d.name, d.role, d.licence) for d in manifest.training_domains] == [
            ("dark", "task", "CC0 1.0"),
            ("bright", "auxiliary", "CC BY 4.0"),
        ]
        graphs = {f"model.{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
        assert set(manifest.files) == {"MODEL_CARD.md", "parity.json", *graphs}
        dataset = DomainDataset.open("dark", "test", data_root=domains, cache_dir=domains / "cache", progress=False)
        again = evaluate(detector, dataset, progress=False)
    # What the manifest says of the bundle is what the bundle does.
    assert manifest.metrics["dark/test"]["map50"] == pytest.approx(again.map50, abs=1e-4)
    fp32, fp16, int8 = exported.parity.precisions
    assert (fp32.precision, fp16.precision, int8.precision) == ("fp32", "fp16", "int8")
    assert fp32.max_abs_box_px < fp16.max_abs_box_px < int8.max_abs_box_px
    assert int8.float_layers[0] == "backbone.stem"
    assert {"map50", "map50_int8", "pd_int8"} <= set(manifest.metrics["dark/test"])
    assert fp32.max_abs_box_px < 0.05
    assert fp32.compared > 0
    assert fp32.matched == 1.0
    assert exported.parity.signed_int8 is not None
    assert exported.parity.signed_int8.map50_exported > 0
    assert exported.parity.left_out == {}
    assert json.loads((out / "parity.json").read_text())["precisions"][0]["map50_exported"] == fp32.map50_exported

    card = (out / "MODEL_CARD.md").read_text()
    for text in ("CC BY 4.0", "dark:test", "bright:test", "mAP50", "loddis-trainer fit", "--learning-rate 0.005"):
        assert text in card
    assert str(domains) not in card


def test_boxes_that_were_set_right_are_those_of_the_graph(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The float32 graph is held against the checkpoint with its boxes scaled: those of before would not pass."""
    monkeypatch.setattr(bundle, "choose_box_scale", lambda *_, **__: (1.25, 0.8))
    plain = settings.model_copy(update={"precisions": ["fp32"], "evaluate": []})
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", plain, progress=False)
    assert exported.parity.box_scale_wh == (1.25, 0.8)
    assert exported.parity.precisions[0].faults == []
    load(tmp_path / "m" / "1", device="cpu", precision="fp32").close()


def test_a_card_has_figures_by_size_and_snr_though_no_split_was_named(
    checkpoint: Path, domains: Path, settings: ExportSettings, tmp_path: Path
) -> None:
    plain = settings.model_copy(update={"precisions": ["fp32", "int8"], "evaluate": []})
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", plain, progress=False)
    assert list(exported.metrics) == ["dark:val"], "what the operating point is chosen on"
    assert {"map50", "map50_int8"} <= set(exported.manifest.metrics["dark/val"])
    card = (tmp_path / "m" / "1" / "MODEL_CARD.md").read_text()
    assert "What choices were made on flatters: a split that took part in none is named with `--evaluate`." in card
    dataset = DomainDataset.open("dark", "val", data_root=domains, cache_dir=domains / "cache", progress=False)
    with load(tmp_path / "m" / "1", threads=1, precision="fp32") as detector:
        again = evaluate(detector, dataset, progress=False)
    groups = [group for group in (*again.by_size, *again.by_snr) if group.targets]
    assert {"SNR" in group.label for group in groups} == {True, False}
    for group in groups:
        assert f"| dark:val | {group.label} | {group.targets} | {100 * group.pd:.1f} % |" in card


def test_a_bundle_is_never_overwritten(checkpoint: Path, settings: ExportSettings, tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(checkpoint, tmp_path / "m" / "1", settings, progress=False)


def test_a_failed_parity_writes_no_bundle(checkpoint: Path, settings: ExportSettings, tmp_path: Path) -> None:
    limits = ParityLimits.model_validate(LOOSE | {"box_px": 1e-12, "score": 1e-12})
    strict = settings.model_copy(update={"parity": ParitySettings(fp32=limits)})
    with pytest.raises(ParityError, match=r"no bundle was written: boxes differ by up to .* px, allowed are 1e-12"):
        export_bundle(checkpoint, tmp_path / "m" / "1", strict, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "one"}, "the bundle cannot be described: version"),
        ({"name": "Not A Name"}, "the bundle cannot be described: name"),
        ({"credit": [Credit(domain="sea", licence="x", source="y")]}, "credit for sea, but the checkpoint was not"),
    ],
)
def test_what_does_not_suit_is_said_and_leaves_nothing(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_bundle(checkpoint, tmp_path / "m" / "1", settings.model_copy(update=changes), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_was_mistyped_is_said_before_any_work_and_leaves_nothing(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "write_graph", lambda *_, **__: pytest.fail("the graph was written first"))
    mistyped = settings.model_copy(update={"evaluate": ["dark:tset"]})
    with pytest.raises(DataError, match="tset"):
        export_bundle(checkpoint, tmp_path / "m" / "1", mistyped, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_window_is_proven_on_frames_that_move(domains: Path) -> None:
    """Copies of one frame would hide channels that were exported in the wrong order."""
    model = build_detector("nano", window=3).eval()
    detector = wrap_detector(
        model, variant="nano", classes=["target"], window=3, size_hw=SIZE_HW, intensity=FullRange()
    )
    dataset = DomainDataset.open("dark", "val", data_root=domains, cache_dir=domains / "cache", progress=False)
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with pytest.raises(ExportError, match="finds nothing"):  # it is untrained
        Reference.of(model, detector, dataset, [2, 3], centre_distance_px=3.0, score_threshold=0.5)
    (frames,) = seen
    assert frames.shape == (2, 3, *SIZE_HW)
    for window in frames:
        assert (window[0] != window[1]).any()
        assert (window[1] != window[2]).any()


def test_a_checkpoint_of_another_version_says_so_before_anything_is_made(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(checkpoint, newer)
    document = json.loads((newer / "checkpoint.json").read_text())
    document["config"]["dream"] = 1
    (newer / "checkpoint.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"newer was configured by another version: dream: "):
        export_bundle(newer, tmp_path / "m" / "1", settings, progress=False)
    assert not (tmp_path / "m").exists()


def test_a_checkpoint_that_is_none_says_so(settings: ExportSettings, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        export_bundle(tmp_path / "nothing", tmp_path / "m" / "1", settings, progress=False)


def test_a_credit_may_have_commas_on_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Bundle] = []
    monkeypatch.setattr(Bundle, "cli_cmd", lambda self: seen.append(self))
    words = ["bundle", "run/best", "m/1", "--credit", "sky=CC0 1.0; Svanström et al., Data in Brief 39, 2021"]
    assert run(Export, [*words, "--credit", "city=MIT; ISTD"]) == 0, capsys.readouterr().err
    assert [(credit.domain, credit.source) for credit in seen[0].credit] == [
        ("sky", "Svanström et al., Data in Brief 39, 2021"),
        ("city", "ISTD"),
    ]


def test_a_single_limit_may_be_set_on_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Bundle] = []
    monkeypatch.setattr(Bundle, "cli_cmd", lambda self: seen.append(self))
    assert run(Export, ["bundle", "run/best", "m/1", "--parity.int8.map50", "0.01"]) == 0, capsys.readouterr().err
    (command,) = seen
    default = ExportSettings()
    assert command.parity.int8 == default.parity.int8.model_copy(update={"map50": 0.01})
    assert command.parity.fp16 == default.parity.fp16
    assert run(Export, ["bundle", "run/best", "m/1", "--parity.int8.map50", "-1"]) == 2
    assert "--parity.int8.map50: input should be greater than 0, got" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["dark", "dark=CC0", "=x; y", "dark=; y"])
def test_a_credit_is_written_one_way(text: str) -> None:
    with pytest.raises(ValidationError, match="a credit is written DOMAIN=LICENCE; SOURCE"):
        ExportSettings.model_validate({"credit": [text]})


def test_outputs_are_compared_by_place_not_by_rank() -> None:
    rows = np.array([[0, 0, 8, 8, 0.9, 0], [40, 40, 48, 48, 0.9, 0], [0, 0, 1, 1, 0.01, 0]], dtype=np.float32)
    swapped = rows[[1, 0, 2]]
    assert compare_outputs(rows, swapped) == (2, 0.0, 0.0)
    moved = rows.copy()
    moved[0, 0] += 2
    moved[1, 4] -= 0.25
    count, box, score = compare_outputs(rows, moved)
    assert (count, box, score) == (2, 2.0, pytest.approx(0.25))
    other_class = rows.copy()
    other_class[0, 5] = 1
    assert compare_outputs(rows, other_class)[1] == np.inf
    assert compare_outputs(rows[2:], rows) == (0, 0.0, 0.0)
    broken = rows.copy()
    broken[2, 4] = np.nan
    assert compare_outputs(rows, broken) == (2, np.inf, np.inf)


def test_the_command_exports_and_fails_in_one_line(
    checkpoint: Path, domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data-root", str(domains), "--cache-dir", str(domains / "cache"), "--threads", "1"]
    words = ["bundle", str(checkpoint), str(tmp_path / "spots" / "1"), *data]
    words += ["--precisions", "fp32"]
    assert run(Export, [*words, "--evaluate", "dark:test"]) == 0
    assert "bundle spots:1" in capsys.readouterr().out
    assert run(Export, words) == 1
    assert capsys.readouterr().err.startswith("loddis-export: error: ")
    assert run(Export, [*words[:2], str(tmp_path / "spots" / "2"), *words[3:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parity"]["precisions"][0]["compared"] > 0
    assert run(Export, ["bundle", str(checkpoint)]) == 2
    assert run(Export, [*words, "--evaluate", "dark"]) == 2
    assert "DOMAIN:SPLIT" in capsys.readouterr().err


def test_a_precision_that_strays_is_left_out_and_the_reason_kept(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    impossible = ParityLimits.model_validate(LOOSE | {"box_px": 1e-9})
    strict = settings.model_copy(
        update={
            "parity": settings.parity.model_copy(update={"fp16": impossible}),
            "precisions": ["fp32", "fp16"],
            "evaluate": [],
        }
    )
    out = tmp_path / "m" / "1"
    exported = export_bundle(checkpoint, out, strict, progress=False)
    assert not (out / "model.fp16.onnx").exists()
    assert exported.parity.left_out["fp16"]
    with pytest.raises(ExportError, match=r"found that fp16 strays too far: boxes differ by up to"):
        build_engines(out, EngineSettings(target=["sm_86"], flavour="tensorrt_rtx"))
    assert "the bundle has no fp16 graph: boxes differ by up to" in caplog.text
    assert "| keeps within its limits |  | yes | boxes differ" in (out / "MODEL_CARD.md").read_text()
    assert ParityReport.model_validate_json((out / "parity.json").read_text()) == exported.parity
    assert [one.precision for one in exported.parity.precisions] == ["fp32", "fp16"]  # int8 was not asked for


def test_the_int8_graph_is_of_the_layers_that_were_chosen_and_levelled_as_reported(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen_graph = b""

    def choose_the_first_of_two(
        layers: list[str], try_out: Trial, *, always: tuple[str, ...], progress: bool
    ) -> PrecisionParity:
        nonlocal chosen_graph
        assert progress
        chosen = try_out((*always, "backbone.stage4.0"))
        (building,) = (tmp_path / "m").glob(".1.*.building")
        chosen_graph = (building / "model.int8.onnx").read_bytes()
        try_out(always)
        return chosen

    monkeypatch.setattr("loddis_export.precisions.find_float_layers", choose_the_first_of_two)
    only = settings.model_copy(update={"precisions": ["fp32", "int8"], "evaluate": []})
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", only, progress=True)
    report = exported.parity.precisions[1]
    assert "backbone.stage4.0" in report.float_layers
    assert (tmp_path / "m" / "1" / "model.int8.onnx").read_bytes() == chosen_graph
    biases = [objectness_bias(tmp_path / "m" / "1" / f"model.{precision}.onnx") for precision in ("fp32", "int8")]
    assert biases[1] - biases[0] == pytest.approx(report.score_shift, abs=1e-5)


def objectness_bias(graph: Path) -> float:
    values = {one.name: numpy_helper.to_array(one) for one in onnx.load(str(graph)).graph.initializer}
    return float(values["head.objectness_logit.bias"][0])


def bare_frames(root: Path, split: str, *, kept: tuple[int, ...] = ()) -> None:
    """Take the labels of a COCO split away, but for those of some images, counted from 1."""
    path = root / f"instances_{split}.json"
    document = json.loads(path.read_text())
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
    path.write_text(json.dumps(document))


def test_float16_is_judged_on_frames_with_targets_where_these_are_rare(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every so many of the frames might all be empty: mAP50 and Pd would be no numbers, of either."""
    judged: list[Reference] = []

    def few(
        reference: Reference, count: int, choose: Callable[[Reference, int], Reference] = Reference.few
    ) -> Reference:
        judged.append(choose(reference, count))
        return judged[-1]

    monkeypatch.setattr(Reference, "few", few)
    monkeypatch.setattr("loddis_export.precisions.HALF_FRAMES", 3)
    root = write_coco_domain(tmp_path / "data" / "dark", splits={"val": 8}, level=60)
    bare_frames(root, "val", kept=(4, 7))
    rare = settings.model_copy(
        update={
            "data_root": tmp_path / "data",
            "cache_dir": tmp_path / "cache",
            "evaluate": [],
            "precisions": ["fp32", "fp16"],
            "score_threshold": 0.3,
        }
    )
    exported = export_bundle(checkpoint, tmp_path / "m" / "1", rare, progress=False)
    assert exported.parity.precisions[1].faults == []
    assert (tmp_path / "m" / "1" / "model.fp16.onnx").is_file()
    (some,) = judged
    assert some.numbers == (0, 3, 6)  # both with a target, and one more
    assert some.metrics.targets == 2


def test_held_out_frames_without_any_target_are_refused(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_coco_domain(tmp_path / "data" / "dark", splits={"val": 3}, level=60)
    of_its_own = {"data_root": tmp_path / "data", "evaluate": [], "precisions": ["fp32"], "score_threshold": 0.3}
    bare_frames(root, "val", kept=(2,))
    few = settings.model_copy(update={**of_its_own, "cache_dir": tmp_path / "some", "parity_frames": 1})
    with pytest.raises(ExportError, match=r"of the 1 frames of dark:val .* none has a target; raise --parity-frames"):
        export_bundle(checkpoint, tmp_path / "m" / "1", few, progress=False)
    bare_frames(root, "val")
    monkeypatch.setattr(bundle, "write_graph", lambda *_, **__: pytest.fail("the graph was written first"))
    none = settings.model_copy(update={**of_its_own, "cache_dir": tmp_path / "none"})
    with pytest.raises(ExportError, match="dark:val has no targets to judge a bundle by: name others with"):
        export_bundle(checkpoint, tmp_path / "m" / "1", none, progress=False)
    assert not (tmp_path / "m").exists()


def test_name_and_version_are_those_of_the_folder_wherever_one_stands(
    checkpoint: Path, settings: ExportSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stripped = strip_checkpoint(checkpoint)
    (tmp_path / "spots" / "1").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "spots")  # a repository knows the model by the link's name
    for stand, out, name in (("spots", "2", "spots"), ("spots/1", "../2", "spots"), ("", "linked/2", "linked")):
        monkeypatch.chdir(tmp_path / stand)
        manifest = describe(stripped, Path(out), settings)
        assert (manifest.name, manifest.version) == (name, "2")


def test_int8_needs_frames_with_targets(checkpoint: Path, settings: ExportSettings, tmp_path: Path) -> None:
    root = write_coco_domain(tmp_path / "data" / "dark", splits={"train": 2, "val": 3})
    bare_frames(root, "train")
    bare = settings.model_copy(
        update={"data_root": tmp_path / "data", "cache_dir": tmp_path / "cache", "evaluate": [], "precisions": ["int8"]}
    )
    with pytest.raises(ExportError, match="dark:train has no targets to calibrate int8 on"):
        export_bundle(checkpoint, tmp_path / "m" / "1", bare, progress=False)
    assert not (tmp_path / "m").exists()
