"""The plumbing that all commands share, with a command made for the purpose."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from loddis_runtime.command import CliPositionalArg, CliSubCommand, Command, SubCommand, run
from loddis_runtime.errors import BundleError

SEEN: list[BaseModel] = []


class Flips(BaseModel):
    """A group of flags."""

    rate: float = Field(default=0.5, ge=0, le=1, description="Share of frames that are flipped.")


class Fit(SubCommand):
    """Train a detector.

    Reads domains, writes a checkpoint.
    """

    out: CliPositionalArg[Path] = Field(description="Folder to write.")
    task: list[str] = Field(description="Task domain, 30 % of it as sky:0.3; repeats.")
    auxiliary: list[str] = Field(default=[], description="Auxiliary domains; repeats.")
    learning_rate: float = Field(default=0.01, gt=0, description="Of SGD.")
    device: Literal["auto", "cpu"] = Field(default="auto", description="Where to train.")
    size_hw: tuple[int, int] = Field(default=(256, 320), description="Pixels.")
    resume: Path | None = Field(default=None, description="Checkpoint to go on from.")
    print_json: bool = Field(default=False, validation_alias="json", description="Print for programs.")
    flips: Flips = Field(default=Flips(), description="Augmentation.")
    fail_with: str = Field(default="", description="Error to raise.")

    @field_validator("task")
    @classmethod
    def _known(cls, task: list[str]) -> list[str]:
        if "moon" in task:
            raise ValueError("there is no domain moon, there are: sky, ground")
        return task

    @model_validator(mode="after")
    def _differ(self) -> Fit:
        if set(self.task) & set(self.auxiliary):
            raise ValueError("a domain cannot be task and auxiliary at once")
        return self

    def cli_cmd(self) -> None:
        SEEN.append(self)
        errors: dict[str, BaseException] = {
            "bundle": BundleError("the bundle\nis broken"),
            "missing": FileNotFoundError(2, "No such file or directory", "/data/sky"),
            "nameless": OSError("disk on fire"),
            "interrupt": KeyboardInterrupt(),
            "defect": RuntimeError("we did something wrong"),
        }
        if self.fail_with:
            raise errors[self.fail_with]
        print("trained")


class Check(SubCommand):
    """Check a domain's annotations."""

    def cli_cmd(self) -> None:
        SEEN.append(self)


class Data(SubCommand):
    """Look at domains."""

    check: CliSubCommand[Check] = Field(description="Check annotations.")


class Trainer(Command):
    """Train detectors of small infrared targets."""

    model_config = SettingsConfigDict(cli_prog_name="loddis-trainer", env_prefix="LODDIS_TEST_")

    workers: int = Field(default=2, ge=1, description="Processes that read frames.")
    api_key: SecretStr | None = Field(default=None, min_length=8, description="Key.")
    tags: tuple[str, ...] = Field(default=(), description="Words.")
    fit: CliSubCommand[Fit] = Field(description="Train a detector.")
    data: CliSubCommand[Data] = Field(description="Look at domains.")


class Server(Command):
    """Serve a model."""

    port: int = Field(default=8080, description="TCP port.")
    check: CliSubCommand[Check] = Field(description="Check and leave.")

    def cli_cmd(self) -> None:
        SEEN.append(self)


@pytest.fixture(autouse=True)
def _forget() -> None:
    SEEN.clear()


def complaints(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give the lines on stderr; nothing may be on stdout then."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_done_is_zero_and_values_have_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "fit runs/a --task sky:0.3 --task ground:1 --auxiliary=city:0.7,sea:1 --learning-rate 0.1 "
        "--size-hw 64,96 --json --flips.rate 0.25 --resume a,b.pt"
    )
    assert run(Trainer, arguments.split()) == 0
    (fit,) = SEEN
    assert isinstance(fit, Fit)
    assert fit.out == Path("runs/a")
    assert fit.task == ["sky:0.3", "ground:1"]
    assert fit.auxiliary == ["city:0.7", "sea:1"]
    assert fit.learning_rate == 0.1
    assert fit.size_hw == (64, 96)
    assert fit.print_json is True
    assert fit.flips.rate == 0.25
    assert fit.resume == Path("a,b.pt")
    assert capsys.readouterr().out == "trained\n"


def test_arguments_of_the_process_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["loddis-trainer", "data", "check"])
    assert run(Trainer) == 0
    assert isinstance(SEEN[0], Check)


def test_a_root_with_work_of_its_own_is_in_charge(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(Server, ["--port", "9"]) == 0
    assert run(Server, ["check"]) == 0
    first, second = SEEN
    assert isinstance(first, Server)
    assert first.port == 9
    assert isinstance(second, Server)
    assert second.check is not None


@pytest.mark.parametrize(
    ("fail_with", "line"),
    [
        ("bundle", "loddis-trainer: error: the bundle is broken"),
        ("missing", "loddis-trainer: error: No such file or directory: /data/sky"),
        ("nameless", "loddis-trainer: error: disk on fire"),
    ],
)
def test_failures_are_one_line_and_status_one(capsys: pytest.CaptureFixture[str], fail_with: str, line: str) -> None:
    assert run(Trainer, ["fit", "out", "--task", "sky", "--fail-with", fail_with]) == 1
    assert complaints(capsys) == [line]


def test_an_interrupt_is_130() -> None:
    assert run(Trainer, ["fit", "out", "--task", "sky", "--fail-with", "interrupt"]) == 130


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="we did something wrong"):
        run(Trainer, ["fit", "out", "--task", "sky", "--fail-with", "defect"])


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ("", ["loddis-trainer: error: a sub-command is required, one of: fit, data"]),
        ("data", ["loddis-trainer data: error: a sub-command is required, one of: check"]),
        ("fit", ["loddis-trainer fit: error: the following arguments are required: OUT"]),
        ("fit out", ["loddis-trainer: error: --task is required"]),
        ("fit out --task", ["loddis-trainer fit: error: argument --task: expected one argument"]),
        ("fit out --task sky --tsk x", ["loddis-trainer: error: unrecognized arguments: --tsk x"]),
        ("fit out --ta sky", ["loddis-trainer: error: unrecognized arguments: --ta sky"]),
        (
            "fit out --task moon --learning-rate -1 --device gpu --flips.rate 3",
            [
                "loddis-trainer: error: --task: there is no domain moon, there are: sky, ground",
                "loddis-trainer: error: --learning-rate: input should be greater than 0, got '-1'",
                "loddis-trainer: error: --device: input should be 'auto' or 'cpu', got 'gpu'",
                "loddis-trainer: error: --flips.rate: input should be less than or equal to 1, got '3'",
            ],
        ),
        ("fit out --task sky --size-hw [64", ["loddis-trainer: error: Parsing error encountered for fit.size_hw"]),
        ("fit out --task sky --size-hw 64", ["loddis-trainer: error: --size-hw: too few values"]),
        ("fit out --task sky --json=maybe", ["loddis-trainer fit: error: argument --json/--no-json: ignored explicit"]),
        (
            "fit out --task sky --auxiliary sky",
            ["loddis-trainer: error: a domain cannot be task and auxiliary at once"],
        ),
        ("--workers none data check", ["loddis-trainer: error: --workers: input should be a valid integer"]),
    ],
)
def test_wrong_use_is_status_two_and_one_line_a_fault(
    capsys: pytest.CaptureFixture[str], arguments: str, lines: list[str]
) -> None:
    assert run(Trainer, arguments.split()) == 2
    said = complaints(capsys)
    assert len(said) == len(lines)
    assert all(one.startswith(line) for one, line in zip(said, lines, strict=True)), said
    assert SEEN == []


def test_secrets_are_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Trainer, ["--api-key", "hunter2", "data", "check"]) == 2
    (line,) = complaints(capsys)
    assert "--api-key" in line
    assert "got" not in line
    assert "hunter2" not in line


class TestEnvironment:
    def test_is_read_under_the_prefix_and_flags_win(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LODDIS_TEST_WORKERS", "7")
        monkeypatch.setattr(Trainer, "cli_cmd", lambda self: SEEN.append(self))
        assert run(Trainer, ["data", "check"]) == 0
        assert run(Trainer, ["--workers", "3", "data", "check"]) == 0
        assert [root.workers for root in SEEN if isinstance(root, Trainer)] == [7, 3]

    def test_faults_name_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LODDIS_TEST_WORKERS", "0")
        assert run(Trainer, ["data", "check"]) == 2
        assert run(Trainer, ["--workers=-1", "data", "check"]) == 2
        by_variable, by_flag = complaints(capsys)
        assert by_variable.startswith("loddis-trainer: error: LODDIS_TEST_WORKERS: input should be greater")
        assert by_flag.startswith("loddis-trainer: error: --workers: input should be greater")

    def test_lists_may_be_written_with_commas_or_as_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Trainer, "cli_cmd", lambda self: SEEN.append(self))
        for text in ("a, b", '["a", "b"]'):
            monkeypatch.setenv("LODDIS_TEST_TAGS", text)
            assert run(Trainer, ["data", "check"]) == 0
        assert [root.tags for root in SEEN if isinstance(root, Trainer)] == [("a", "b")] * 2

    def test_is_not_read_without_a_prefix(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "1")
        monkeypatch.setenv("CHECK", "{")
        assert run(Server, []) == 0
        (server,) = SEEN
        assert isinstance(server, Server)
        assert server.port == 8080


class TestHelp:
    def test_of_the_root(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(Trainer, ["--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("usage: loddis-trainer ")
        for wanted in (
            "Train detectors of small infrared targets.",
            "--workers INT",
            "Processes that read frames. (default: 2) [LODDIS_TEST_WORKERS]",
            "fit                Train a detector.",
            "data               Look at domains.",
            "--version",
        ):
            assert " ".join(wanted.split()) in " ".join(text.split())

    def test_of_a_sub_command(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "120")
        assert run(Trainer, ["fit", "--help"]) == 0
        text = capsys.readouterr().out
        assert "Train a detector.\n\nReads domains, writes a checkpoint." in text
        flat = " ".join(text.split())
        for wanted in (
            "OUT Folder to write.",
            "--task TEXT Task domain, 30 % of it as sky:0.3; repeats. (required)",
            "--auxiliary TEXT Auxiliary domains; repeats. --",
            "--learning-rate NUMBER Of SGD. (default: 0.01)",
            "--device {auto,cpu}",
            "--size-hw INT,INT",
            "--resume PATH Checkpoint to go on from. --",
            "--json, --no-json",
            "--flips.rate NUMBER Share of frames that are flipped. (default: 0.5)",
        ):
            assert wanted in flat

    def test_every_flag_is_described(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(Trainer, ["fit", "--help"]) == 0
        text = capsys.readouterr().out
        for name, field in Fit.model_fields.items():
            assert field.description is not None, name
            assert field.description.split(";")[0][:20] in " ".join(text.split())

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(Trainer, ["--version"]) == 0
        assert capsys.readouterr().out.startswith("loddis-trainer 0.")


def test_a_package_that_is_not_installed_is_named_with_what_brings_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs_more(self: object) -> None:
        importlib.import_module("no_such_package")

    monkeypatch.setattr(Fit, "cli_cmd", needs_more)
    words = ["fit", "out", "--task", "a"]
    with pytest.raises(ModuleNotFoundError):  # a command that names no extra: a defect of ours
        run(Trainer, words)
    monkeypatch.setattr(Trainer, "extra", "train")
    assert run(Trainer, words) == 1
    expected = "loddis-trainer: error: no_such_package is not installed; pip install 'loddis[train]' brings it\n"
    assert capsys.readouterr().err == expected


def test_a_reader_that_leaves_early_is_no_error() -> None:
    code = (
        "import sys\n"
        "from loddis_runtime.command import Command, run\n"
        "class Talk(Command):\n"
        "    '''Talk.'''\n"
        "    def cli_cmd(self):\n"
        "        for _ in range(100_000): print('words')\n"
        "sys.exit(run(Talk, []))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as talk:
        assert talk.stdout is not None
        assert talk.stderr is not None
        talk.stdout.readline()
        talk.stdout.close()
        assert talk.stderr.read() == b""
        assert talk.wait() == 1
