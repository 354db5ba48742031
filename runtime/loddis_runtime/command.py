"""What all Loddis commands share: one model for flags, environment and help; exit statuses; one-line errors.

A command is a tree of models. The root is a `Command`, branches and leaves are `SubCommand`, each named by a
`CliSubCommand` field; the fields of a leaf become flags in kebab-case, and its `cli_cmd` does the work.

    class Fit(SubCommand):
        '''Train a detector.'''

        task: list[str] = Field(description="Task domain and fraction, such as sky:0.3; repeats.")

        def cli_cmd(self) -> None: ...

    class Trainer(Command):
        '''Train detectors of small infrared targets.'''

        model_config = SettingsConfigDict(cli_prog_name="loddis-trainer")
        fit: CliSubCommand[Fit] = Field(description="Train a detector.")

    def main() -> NoReturn:
        sys.exit(run(Trainer))

A model with a `cli_cmd` of its own is in charge of its sub-commands; without one, `run` hands on to the one asked for.
Lists take repeated flags, or values with commas between them.

Exit status: 0 done; 1 failed (`LoddisError` or `OSError`, one line on stderr); 2 used wrongly (one line a fault, naming
the flag); 130 interrupted. Anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import inspect
import os
import re
import select
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from loddis_runtime.command_names import describe_fault, flag_of, is_sub_command, one_line, variable_of
from loddis_runtime.errors import LoddisError

__all__ = ["CliPositionalArg", "CliSubCommand", "Command", "SubCommand", "run"]

OK, FAILED, USED_WRONGLY, INTERRUPTED = 0, 1, 2, 130
METAVARS = {"str": "TEXT", "SecretStr": "TEXT", "int": "INT", "float": "NUMBER", "Path": "PATH"}


class SubCommand(BaseModel):
    """A command within a command: its fields are its flags, its docstring the head of its help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def cli_cmd(self) -> None:
        """Do the work; a model that only groups sub-commands leaves this alone."""
        raise NotImplementedError


class Command(BaseSettings):
    """The root of a command. Set `cli_prog_name`, and `env_prefix` if fields may come from the environment.

    Attributes:
        extra: Of this distribution: brings the packages that sub-commands import when they run.
    """

    extra: ClassVar[str | None] = None

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_kebab_case=True,
        nested_model_default_partial_update=True,
        env_nested_delimiter="__",
    )

    def cli_cmd(self) -> None:
        """Do the work; a root that only groups sub-commands leaves this alone."""
        raise NotImplementedError

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment only under a prefix: someone else's variable `FIT` is no flag of ours."""
        del env_settings  # `_Environment` takes its place
        if not settings_cls.model_config.get("env_prefix"):
            return (init_settings,)
        return init_settings, _Environment(settings_cls), dotenv_settings, file_secret_settings


class _Environment(EnvSettingsSource):
    """The environment, where lists may be written with commas, as on the command line."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Take JSON, else parts between commas."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return [part.strip() for part in value.split(",")]


def run(app: type[Command], argv: Sequence[str] | None = None) -> int:
    """Run a command from its arguments and say how it went.

    Args:
        app: The root of the command.
        argv: Arguments without the program's name; those of the process if not given.

    Returns:
        The exit status, as this module lists them. What went wrong is on stderr by then.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    prog = app.model_config.get("cli_prog_name") or app.__name__.lower()
    try:
        _responsible(_build(app, prog, arguments), prog).cli_cmd()
        sys.stdout.flush()
    except _UsageError as error:
        for fault in error.faults:
            _complain(error.prog, fault)
        return USED_WRONGLY
    except ModuleNotFoundError as error:
        if app.extra is None or (error.name or "loddis").startswith("loddis"):
            raise
        _complain(prog, f"{error.name} is not installed; pip install 'loddis[{app.extra}]' brings it")
        return FAILED
    except (LoddisError, OSError) as error:
        if not (isinstance(error, BrokenPipeError) and _reader_left()):
            _complain(prog, _describe(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as request:  # --help, --version
        return request.code if isinstance(request.code, int) else OK if request.code is None else FAILED
    return OK


class _UsageError(Exception):
    """Flags or values that cannot be taken, one message a fault."""

    def __init__(self, prog: str, faults: Sequence[str]) -> None:
        super().__init__(*faults)
        self.prog = prog
        self.faults = faults


class _Parser(argparse.ArgumentParser):
    """An argument parser that leaves it to `run` to report what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(self.prog, [message])


def _build(app: type[Command], prog: str, arguments: list[str]) -> Command:
    """Parse and validate; whatever is wrong comes as a `_UsageError`."""
    parser = _Parser(
        prog=prog,
        description=inspect.getdoc(app),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {importlib.metadata.version('loddis')}")
    source: CliSettingsSource[Any] = CliSettingsSource(
        app,
        cli_prog_name=prog,
        root_parser=parser,
        add_argument_method=functools.partial(_add_argument, app),
        add_parser_method=_add_parser,
    )
    try:
        return app(_cli_settings_source=source(args=arguments))
    except ValidationError as error:
        faults = [describe_fault(app, fault, arguments) for fault in error.errors(include_url=False)]
        raise _UsageError(prog, faults) from None
    except SettingsError as error:
        raise _UsageError(prog, [one_line(str(error))]) from None


def _add_argument(
    app: type[Command], parser: argparse._ActionsContainer, *names: str, **options: Any
) -> argparse.Action:
    """Add a flag whose help says what to write (`PATH` for list[Path]), its variable, and its default if it has one."""
    if options.get("metavar"):
        metavar = re.sub(r"^\w+\[(.*?)(,\.\.\.)?\]$", r"\1", options["metavar"])
        options["metavar"] = re.sub(r"\b(\w+)\b", lambda word: METAVARS.get(word[1], word[1]), metavar)
    options["help"] = re.sub(r" \(default: (None|\[\]|\(\))\)$", "", options.get("help") or "")
    path = options.get("dest", "").split(".")
    if path[-1] == "kind":  # of a union: the default shown is that of its last member, not of the field
        options["help"] = re.sub(r" \(default: \w+\)$", "", options["help"])
    root = app.model_fields.get(path[0])
    if root is not None and not is_sub_command(root) and app.model_config.get("env_prefix"):
        options["help"] += f" [{variable_of(app, tuple(path))}]"
    return parser.add_argument(*names, **options)


def _add_parser(commands: argparse._SubParsersAction[Any], *names: str, **options: Any) -> argparse.ArgumentParser:
    """Add a sub-command whose help is free of its docstring's indentation."""
    parser: argparse.ArgumentParser = commands.add_parser(
        *names, **{**options, "description": inspect.cleandoc(options.get("description") or "")}
    )
    return parser


def _responsible(command: Command | SubCommand, prog: str) -> Command | SubCommand:
    """Give the first model on the way down that has a `cli_cmd` of its own."""
    while type(command).cli_cmd in (Command.cli_cmd, SubCommand.cli_cmd):
        names = [name for name, field in type(command).model_fields.items() if is_sub_command(field)]
        chosen = [name for name in names if getattr(command, name) is not None]
        if not chosen:
            flags = ", ".join(_sub_command(command, name) for name in names)
            raise _UsageError(prog, [f"a sub-command is required, one of: {flags}"])
        command, prog = getattr(command, chosen[0]), f"{prog} {_sub_command(command, chosen[0])}"
    return command


def _sub_command(command: Command | SubCommand, name: str) -> str:
    """Give the name that a sub-command is called by: its alias, for words such as `import` that no field can be."""
    return flag_of((type(command).model_fields[name].alias or name,))


def _describe(error: LoddisError | OSError) -> str:
    """Give the error's message; the cause and the file of an `OSError`."""
    if isinstance(error, OSError) and error.strerror:
        files = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return one_line(": ".join([error.strerror, " -> ".join(files)]) if files else error.strerror)
    return one_line(str(error) or type(error).__name__)


def _complain(prog: str, message: str) -> None:
    """Put one line on stderr."""
    sys.stderr.write(f"{prog}: error: {message}\n")


def _reader_left() -> bool:
    """Tell whether nobody reads our output any more, as in `… | head`; keep the interpreter quiet about it at exit."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by something that is no file
        return False
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
