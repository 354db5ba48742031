"""Reports of trained runs, as a user asks for them and reads them."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loddis_runtime.command import run
from loddis_trainer.cli import Trainer
from loddis_trainer.fit import fit
from loddis_trainer.metrics import Metrics, evaluate_images
from support.domains import write_coco_domain, write_drone_csv_domain
from support.fitting import short_run

SECTIONS = (
    "results",
    "negative-shift",
    "curves",
    "groups",
    "pictures",
    "training",
    "correlation",
    "domains",
    "maps",
    "focus",
    "data",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two domains and three short runs: the task alone, plainly mixed, and by the method."""
    root = tmp_path_factory.mktemp("report")
    write_drone_csv_domain(root / "domains" / "dark", frames=4)
    write_coco_domain(root / "domains" / "bright", splits={"train": 8, "val": 4})
    for name, changes in {
        "alone": {"auxiliary": []},
        "plain": {"alpha": 0, "beta": 0, "eta": 0, "evidence_frames": 0},
        "loddis": {},
    }.items():
        wanted: dict[str, object] = {"evidence_frames": 4, "cache_dir": root / "cache", **changes}
        fit(short_run(root / "domains", root / "runs" / name, **wanted), progress=False)
    return root


def report(root: Path, out: Path, *words: str) -> int:
    return run(Trainer, ["report", *words, "--cache-dir", str(root / "cache"), "--out", str(out)])


def text_of(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def cards_of(page: Path) -> list[list[str]]:
    """Give the words on the cards at the head of a page, run by run."""
    tree = ET.fromstring(page.read_text().partition("\n")[2])
    return [[text_of(part) for part in card] for card in tree.findall(".//ul[@class='cards']/li")]


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    out = root / "three.html"
    words = [f"task only={root}/runs/alone", f"{root}/runs/plain", f"A&B <Loddis>={root}/runs/loddis"]
    assert report(root, out, *words, "--on", "dark:test", "--on", "bright:val") == 0
    return out.read_text()


@pytest.fixture(scope="module")
def sections(page: str) -> dict[str, ET.Element]:
    tree = ET.fromstring(page.partition("\n")[2])
    return {section.attrib["id"]: section for section in tree.iter("section")}


class TestThePage:
    def test_it_is_one_whole_file_that_fetches_nothing(self, page: str) -> None:
        assert page.startswith("<!DOCTYPE html>\n")
        assert "http" not in page
        assert "<script" not in page
        addresses = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', page)
        assert addresses
        for address in ("".join(pair) for pair in addresses):
            assert address.startswith(("#", "data:image/png;base64,"))
        assert len(page) < 2_000_000

    def test_no_identifier_stands_twice_and_every_reference_is_there(self, page: str) -> None:
        names = re.findall(r'\bid="([^"]+)"', page)
        assert len(names) == len(set(names))
        assert {*re.findall(r'href="#([^"]+)"', page), *re.findall(r"url\(#([^)]+)\)", page)} <= set(names)

    def test_every_section_is_there_with_something_in_it(self, sections: dict[str, ET.Element]) -> None:
        assert tuple(sections) == SECTIONS
        for section in sections.values():
            assert section.findall("figure") or section.findall("p[@class='note']")

    def test_every_figure_says_what_to_look_for(self, sections: dict[str, ET.Element]) -> None:
        for name, section in sections.items():
            for figure in section.iter("figure"):
                captions = [*figure.iter("figcaption"), *figure.findall("p[@class='row']")]
                assert captions
                assert all(len(text_of(caption)) > 6 for caption in captions), name

    def test_words_of_the_user_stay_words(self, page: str, sections: dict[str, ET.Element]) -> None:
        assert "A&B <Loddis>" in text_of(sections["results"])
        assert "<Loddis>" not in page

    def test_figures_follow_the_page_s_colours(self, page: str) -> None:
        assert "prefers-color-scheme: dark" in page
        assert "var(--run-3)" in page
        assert not re.search(r"#010[123]0", page)  # a stand-in that was forgotten
        for name in set(re.findall(r"var\((--[\w-]+)\)", page)):
            assert f"{name}:" in page, name

    def test_results_are_those_of_the_evaluation(
        self, root: Path, sections: dict[str, ET.Element], capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = f"--on dark:test --data-root {root / 'domains'} --cache-dir {root / 'cache'} --json".split()
        assert run(Trainer, ["evaluate", str(root / "runs" / "loddis" / "best"), *flags]) == 0
        metrics = json.loads(capsys.readouterr().out)["dark:test"]
        row = [text_of(cell) for cell in sections["results"].findall(".//tbody/tr")[2]]
        assert row[0] == "A&B <Loddis>"
        assert row[1] == "P+A, Loddis"
        assert row[2] == f"{100 * metrics['map50']:.1f} %"
        assert row[6] == f"{100 * metrics['pd']:.1f} %"

    def test_negative_shift_is_shown_on_the_task_alone(self, sections: dict[str, ET.Element]) -> None:
        section = sections["negative-shift"]
        assert [text_of(title) for title in section.iter("h3")] == ["dark:test"]
        assert "the line is task only" in text_of(section)

    def test_maps_are_shown_for_the_method_and_missing_ones_explained(self, sections: dict[str, ET.Element]) -> None:
        maps = sections["maps"]
        notes = [text_of(note) for note in maps.findall("p[@class='note']")]
        assert [note.partition(":")[0] for note in notes] == ["task only", "plain"]
        assert "neither target nor background maps" in notes[0]
        rows = maps.findall(".//tbody/tr")
        assert len(rows) == 8  # two frames of each domain, with their words
        assert len(rows[0].findall(".//image")) == 5
        assert text_of(rows[1]).startswith("dark/")
        assert "before the background of bright/" in text_of(rows[1])

    def test_a_run_without_evidence_says_so(self, sections: dict[str, ET.Element]) -> None:
        for name in ("correlation", "domains", "focus"):
            notes = [text_of(note) for note in sections[name].findall("p[@class='note']")]
            assert any(note.startswith("plain: no evidence was recorded") for note in notes)
        assert len(sections["correlation"].findall("figure")) == 2

    def test_what_differs_between_the_runs_stands_first(self, sections: dict[str, ET.Element]) -> None:
        rows = sections["data"].findall("figure")[-1].findall(".//tbody/tr")
        names = [text_of(row[0]) for row in rows]
        differing = {text_of(row[0]) for row in rows if row[0].find("strong") is not None}
        assert {"auxiliary", "alpha", "beta", "eta", "evidence_frames", "out"} == differing
        assert set(names[: len(differing)]) == differing
        assert {"task", "seed", "augment.flip"} <= set(names)


def test_a_plain_run_alone_has_a_page_too(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plain.html"
    assert report(root, out, f"{root}/runs/alone", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["out"] == str(out)
    (of_run,) = document["runs"].values()
    assert of_run["kind"] == "P"
    assert set(of_run["metrics"]) == {"dark:test"}  # chosen: the task domain's test split
    assert [line["epoch"] for line in of_run["evidence"]] == [0, 1, 2]
    tree = ET.fromstring(out.read_text().partition("\n")[2])
    sections = {section.attrib["id"]: text_of(section) for section in tree.iter("section")}
    assert tuple(sections) == SECTIONS
    assert "None of these runs was trained with auxiliary domains" in sections["negative-shift"]
    assert "trained on a single domain" in sections["domains"]


def test_at_the_head_stands_the_mean_of_each_run_s_own_task_domains(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(
        short_run(root / "domains", tmp_path / "both", task=["dark", "bright"], auxiliary=[], cache_dir=root / "cache"),
        progress=False,
    )
    nan = math.nan  # as where a split has no targets
    map50 = iter([0.9, 0.2, nan, 0.1, 0.4, nan, 0.6, 0.3, nan])  # three runs, on the three splits

    def evaluate(*words: Any, **options: Any) -> Metrics:
        return replace(evaluate_images(*words, **options), map50=next(map50))

    monkeypatch.setattr("loddis_trainer.reporting.collect.evaluate_images", evaluate)
    runs = [str(root / "runs" / "alone"), str(root / "runs" / "loddis"), str(tmp_path / "both")]
    on = ["--on", "bright:val", "--on", "dark:test", "--on", "dark:val"]
    assert report(root, tmp_path / "page.html", *runs, *on) == 0
    tree = ET.fromstring((tmp_path / "page.html").read_text().partition("\n")[2])
    assert cards_of(tmp_path / "page.html") == [
        ["alone", "P", "20.0 % mAP50", "dark:test"],
        ["loddis", "P+A, Loddis", "40.0 % mAP50", "dark:test", "+20.0 points against P"],
        ["both", "P, Loddis", "45.0 % mAP50", "mean of bright:val, dark:test"],
    ]
    shift = next(section for section in tree.iter("section") if section.attrib["id"] == "negative-shift")
    assert [text_of(title) for title in shift.iter("h3")] == ["dark:test", "dark:val"]  # of `bright` it learned nothing


def test_a_domain_without_a_test_split_is_measured_on_its_validation(root: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "runs" / "moved"
    shutil.copytree(root / "runs" / "loddis", run_folder)
    info = run_folder / "best" / "checkpoint.json"
    document = json.loads(info.read_text())
    document["config"] |= {"task": ["bright"], "auxiliary": ["dark"]}
    info.write_text(json.dumps(document))
    assert report(root, tmp_path / "page.html", str(run_folder)) == 0
    assert "bright:val" in (tmp_path / "page.html").read_text()


def test_a_test_split_with_a_fault_is_not_passed_over(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`val` in its place would be what the best epoch was chosen by."""
    shutil.copytree(root / "domains", tmp_path / "domains")
    table = next((tmp_path / "domains" / "dark" / "labels").glob("TEST*.csv"))
    head, row, *others = table.read_text().splitlines()
    frame, label, _, *rest = row.split(",")
    table.write_text("\n".join([head, ",".join([frame, label, "-500", *rest]), *others]) + "\n")
    words = [f"{root}/runs/alone", "--data-root", str(tmp_path / "domains")]
    assert report(root, tmp_path / "page.html", *words) == 1
    error = capsys.readouterr().err
    assert f"labels/{table.name}" in error
    assert error.count("\n") == 1


def test_several_runs_on_the_task_alone_are_compared_with_by_their_mean(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    map50 = iter([0.5, 0.1, 0.7, 0.1, 0.9, 0.2])  # three runs on two splits

    def evaluate(*words: Any, **options: Any) -> Metrics:
        return replace(evaluate_images(*words, **options), map50=next(map50))

    monkeypatch.setattr("loddis_trainer.reporting.collect.evaluate_images", evaluate)
    shutil.copytree(root / "runs" / "alone", tmp_path / "again")
    runs = [str(root / "runs" / "alone"), str(tmp_path / "again"), str(root / "runs" / "loddis")]
    assert report(root, tmp_path / "page.html", *runs, "--on", "dark:test", "--on", "bright:val") == 0
    assert cards_of(tmp_path / "page.html")[2][-1] == "+30.0 points against the mean of 2 P"


def test_on_a_domain_that_is_no_task_nothing_is_gained_or_lost(root: Path, tmp_path: Path) -> None:
    runs = [str(root / "runs" / "alone"), str(root / "runs" / "loddis")]
    assert report(root, tmp_path / "page.html", *runs, "--on", "bright:val") == 0
    cards = cards_of(tmp_path / "page.html")
    assert [card[-1] for card in cards] == ["bright:val"] * 2


def test_settings_that_came_later_are_shown_as_they_were_before(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(root / "runs" / "alone", old)
    info = old / "best" / "checkpoint.json"
    document = json.loads(info.read_text())
    for name in ("augment", "crop_hw"):
        del document["config"][name]
    info.write_text(json.dumps(document))
    assert report(root, tmp_path / "page.html", str(root / "runs" / "alone"), str(old)) == 0
    tree = ET.fromstring((tmp_path / "page.html").read_text().partition("\n")[2])
    (data,) = [section for section in tree.iter("section") if section.attrib["id"] == "data"]
    rows = [[text_of(cell) for cell in row] for row in data.findall("figure")[-1].findall(".//tbody/tr")]
    settings = {row[0]: row[1:] for row in rows}
    assert settings["augment.flip"] == ["0.0", "0.0"]
    assert settings["crop_hw"] == ["–", "–"]
    document["config"]["pooling"] = "of another version"
    info.write_text(json.dumps(document))
    assert report(root, tmp_path / "page.html", str(root / "runs" / "alone"), str(old)) == 0
    tree = ET.fromstring((tmp_path / "page.html").read_text().partition("\n")[2])
    (data,) = [section for section in tree.iter("section") if section.attrib["id"] == "data"]
    table = data.findall("figure")[-1].findall(".//tbody/tr")
    marked = {text_of(row[0]) for row in table if row[0].find("strong") is not None}
    assert {text_of(row[0]): text_of(row[2]) for row in table}["augment.flip"] == "not recorded"
    assert marked == {"pooling"}


def test_few_false_alarms_can_be_read_off_the_axis(root: Path, page: str) -> None:
    curves = page[page.index('id="curves"') : page.index('id="groups"')]
    labels = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", curves)]
    places = [label for label in labels if re.fullmatch(r"0|0\.0*1|10*", label)]
    assert "0" in places  # where none at all is drawn
    assert len(set(places)) >= 3


def test_a_background_domain_is_not_said_to_be_missing(root: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(root / "runs" / "loddis", blind)
    evidence = blind / "evidence.jsonl"
    lines = [json.loads(line) | {"separability_z": None} for line in evidence.read_text().splitlines()]
    evidence.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert report(root, tmp_path / "page.html", str(blind)) == 0
    text = (tmp_path / "page.html").read_text()
    assert "blind: fewer than two of its domains have two frames of evidence with a target." in text
    assert "trained on a single domain" not in text


def test_any_name_of_a_domain_can_be_drawn(root: Path, tmp_path: Path) -> None:
    """Letters that the figures' own font lacks, and one of the colours that they are drawn in."""
    name = "夜 #010299"
    shutil.copytree(root / "domains" / "dark", tmp_path / "domains" / name)
    words = [f"{root}/runs/alone", "--data-root", str(tmp_path / "domains"), "--on", f"{name}:test"]
    assert report(root, tmp_path / "page.html", *words) == 0
    assert f"{name}:test</text>" in (tmp_path / "page.html").read_text()


def test_runs_of_other_sequences_are_not_compared(root: Path, tmp_path: Path) -> None:
    """Shares of another `--mixture-seed` are as large, but of other frames."""
    other = tmp_path / "runs" / "other"
    shutil.copytree(root / "runs" / "alone", other)
    info = other / "best" / "checkpoint.json"
    document = json.loads(info.read_text())
    document["domains"][0]["digest"] = "0" * 16
    info.write_text(json.dumps(document))
    assert report(root, tmp_path / "page.html", str(other), str(root / "runs" / "loddis")) == 0
    tree = ET.fromstring((tmp_path / "page.html").read_text().partition("\n")[2])
    shift = next(section for section in tree.iter("section") if section.attrib["id"] == "negative-shift")
    assert not list(shift.iter("h3"))
    assert "no run here on its task data alone (dark:1, the same sequences)" in text_of(shift)
    assert not any("against P" in part for card in cards_of(tmp_path / "page.html") for part in card)


def test_a_run_that_none_of_the_splits_is_for_is_named(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "runs" / "elsewhere"
    shutil.copytree(root / "runs" / "loddis", elsewhere)
    info = elsewhere / "best" / "checkpoint.json"
    document = json.loads(info.read_text())
    document["domains"][0]["name"], document["domains"][1]["name"] = "bright", "dark"
    info.write_text(json.dumps(document))
    runs = [str(root / "runs" / "alone"), str(elsewhere)]
    assert report(root, tmp_path / "page.html", *runs, "--on", "dark:test") == 0
    tree = ET.fromstring((tmp_path / "page.html").read_text().partition("\n")[2])
    shift = next(section for section in tree.iter("section") if section.attrib["id"] == "negative-shift")
    assert "None of the splits is of a task domain of elsewhere: name one by --on." in text_of(shift)


def test_a_figure_that_was_never_measured_is_left_out(root: Path, tmp_path: Path) -> None:
    run_folder = tmp_path / "blind"
    shutil.copytree(root / "runs" / "loddis", run_folder)
    evidence = run_folder / "evidence.jsonl"
    first, *others = evidence.read_text().splitlines()
    blind = json.loads(first) | {"correlation": None, "hsic": None}
    evidence.write_text("\n".join([json.dumps(blind), *others]) + "\n")
    history = run_folder / "history.jsonl"
    history.write_text(history.read_text() + '{"epoch": 3, "train": {"total": NaN}, "validation": {"pd": null}}\n')
    assert report(root, tmp_path / "page.html", str(run_folder)) == 0
    assert "blind: too few frames for a correlation." in (tmp_path / "page.html").read_text()


def test_a_training_that_still_runs_can_be_looked_at(root: Path, tmp_path: Path) -> None:
    """The last line of its history may be half-written, and an epoch trained again after a kill counts once."""
    run_folder = tmp_path / "running"
    shutil.copytree(root / "runs" / "loddis", run_folder)
    history = run_folder / "history.jsonl"
    lines = history.read_text()
    history.write_text(lines + lines.splitlines()[-1] + "\n" + '{"epoch": 3, "st')
    assert report(root, tmp_path / "page.html", str(run_folder)) == 0


def break_weights(folder: Path) -> None:
    path = folder / "best" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_history(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text("{half\n" + path.read_text())


def break_snapshot(folder: Path) -> None:
    path = folder / "evidence" / "epoch-002.npz"
    path.write_bytes(path.read_bytes()[:100])


def end_history(line: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "history.jsonl").write_text(line + "\n")


def configure(**changes: object) -> Callable[[Path], object]:
    """Give what changes the configuration of the best checkpoint; without changes nothing is left of it."""

    def harm(folder: Path) -> None:
        path = folder / "best" / "checkpoint.json"
        document = json.loads(path.read_text())
        document["config"] = document["config"] | changes if changes else {}
        path.write_text(json.dumps(document))

    return harm


def rename_in_snapshot(folder: Path) -> None:
    path = folder / "evidence" / "epoch-002.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"domain_names": np.array(["dark", "moon"])})


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "run .* does not exist"),
        (lambda folder: shutil.rmtree(folder / "best"), "holds no run with a validated checkpoint"),
        (lambda folder: (folder / "best" / "checkpoint.json").unlink(), r"has no checkpoint\.json"),
        (lambda folder: (folder / "best" / "weights.safetensors").unlink(), r"weights\.safetensors is missing"),
        (break_weights, r"weights\.safetensors cannot be read"),
        (lambda folder: (folder / "history.jsonl").unlink(), r"it has no history\.jsonl"),
        (break_history, r"history\.jsonl, line 1 is no record of an epoch"),
        (break_snapshot, r"epoch-002\.npz cannot be read"),
        (rename_in_snapshot, "evidence of .* names 'moon', a domain that it was not trained on"),
        (
            end_history('{"epoch": 1, "train": [1]}'),
            r"history\.jsonl, line 1 is no record of an epoch: train: .*object",
        ),
        (end_history('{"epoch": 1, "validation": {"pd": {}}}'), r"line 1 is no record of an epoch: validation\.pd: "),
        (end_history('{"epoch": 1e999}'), r"history\.jsonl, line 1 is no record of an epoch: epoch: "),
        (end_history('{"epoch": 1' + 400 * "0" + "}"), r"history\.jsonl, line 1 is no record of an epoch: "),
        (end_history("[" * 100_000), r"history\.jsonl, line 1 is no record of an epoch: Invalid JSON"),
        (configure(), "run/best has no configuration of a training: task: Field required"),
        (configure(task=["good:9"]), r"best has no configuration of a training: task\.0: .*, got 'good:9'"),
        (configure(task=5), "best has no configuration of a training: task: .*tuple"),
        (configure(alpha="much"), "best has no configuration of a training: alpha: .*number"),
        (configure(auxiliary=[]), "best was trained on task, auxiliary domains, but configured for task$"),
    ],
)
def test_a_run_that_is_none_is_named_in_one_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: object, message: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(root / "runs" / "loddis", folder)
    harm(folder)  # type: ignore[operator]
    assert report(root, tmp_path / "page.html", str(folder)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(tmp_path.glob("*page.html*"))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["RUNS/loddis", "--on", "nowhere:test"], 1, "no domain 'nowhere' under .*; there are: bright, dark"),
        (["RUNS/loddis", "--on", "bright:test"], 1, "domain 'bright' has no split 'test'"),
        (["RUNS/loddis", "--on", "dark"], 2, "a split is written DOMAIN:SPLIT, got 'dark'"),
        (["RUNS/loddis/best"], 1, "name the run's folder, not a checkpoint's"),
        (["RUNS/loddis", "loddis=RUNS/plain"], 1, "two runs are called 'loddis'"),
        (["RUNS/loddis"] * 9, 1, "at most 8 runs, got 9"),
        ([], 2, "arguments are required: RUNS"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    given = [word.replace("RUNS", str(root / "runs")) for word in words]
    assert report(root, tmp_path / "page.html", *given) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path, tmp_path / "none" / "page.html"):
        assert report(root, out, f"{root}/runs/loddis") == 1
        assert "--out must be a file in a folder that exists" in capsys.readouterr().err
