"""`loddis-server`: serve; show the settings; examine the machine."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import orjson
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loddis_runtime.command import CliSubCommand, SubCommand, run
from loddis_runtime.errors import LoddisError
from loddis_server.settings import ENV_PREFIX, ServerSettings

__all__ = ["Server", "main"]

STATUS_STYLES = {"ok": "green", "note": "yellow", "fault": "red"}


class Config(SubCommand):
    """Show the effective settings and the variables that set them; secrets are hidden, what is no default is bold.

    Flags of the server stand before it: loddis-server --port 9000 config.
    """

    json_: bool = Field(default=False, alias="json", description="Print JSON.")


class Doctor(SubCommand):
    """Show which cores, engines and models there are, and what keeps the server from starting.

    Flags of the server stand before it: loddis-server --model-repository models doctor.
    """

    json_: bool = Field(default=False, alias="json", description="Print JSON.")


class DoctorError(LoddisError):
    """Something keeps the server from starting."""


class Server(ServerSettings):
    """Serve detections of moving small targets over HTTP.

    A flag wins over the variable named beside it, that over the file of `--config-file`.

    Flags stand before a sub-command: loddis-server --model-repository models doctor.
    """

    model_config = SettingsConfigDict(cli_prog_name="loddis-server")

    config: CliSubCommand[Config] = Field(description="Show the effective settings.")
    doctor: CliSubCommand[Doctor] = Field(description="Examine this machine and the models.")

    def cli_cmd(self) -> None:
        """Serve, unless a sub-command is asked for."""
        if self.config is not None:
            _show_settings(self, as_json=self.config.json_)
        elif self.doctor is not None:
            _show_findings(self, as_json=self.doctor.json_)
        else:
            from loddis_server.serving import serve  # slow to import, and not needed for the others

            serve(self)


def main() -> NoReturn:
    """Run the command."""
    sys.exit(run(Server))


def _show_settings(settings: ServerSettings, *, as_json: bool) -> None:
    """Print the effective settings."""
    values: dict[str, Any] = settings.model_dump(mode="json", include=set(ServerSettings.model_fields))
    if as_json:
        sys.stdout.write(orjson.dumps(values, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
        return
    table = Table("setting", "value", "variable", box=None, pad_edge=False)
    defaults = _flat(ServerSettings.model_construct().model_dump(mode="json", include=set(values)))
    for path, value in _flat(values).items():
        shown = _shown(value)
        variable = f"{ENV_PREFIX}{'__'.join(path)}".upper()
        table.add_row(".".join(path), shown if value == defaults.get(path) else Text(shown, style="bold"), variable)
    Console().print(table)


def _flat(values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Give settings by their paths, those in groups too."""
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in values.items():
        flat |= _flat(value, (*above, name)) if isinstance(value, dict) else {(*above, name): value}
    return flat


def _shown(value: Any) -> str:
    """Write a setting for people."""
    if isinstance(value, list):
        return ", ".join(item if isinstance(item, str) else orjson.dumps(item).decode() for item in value)
    return "" if value is None else str(value)


def _show_findings(settings: ServerSettings, *, as_json: bool) -> None:
    """Print what was found."""
    from loddis_server.doctor import examine

    report = examine(settings)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        table = Table("", "subject", "finding", box=None, pad_edge=False)
        for finding in report.findings:
            style = STATUS_STYLES[finding.status]
            table.add_row(f"[{style}]{finding.status}[/{style}]", finding.subject, finding.detail)
        Console().print(table)
    if report.has_faults:
        faults = [finding.subject for finding in report.findings if finding.status == "fault"]
        raise DoctorError(f"the server would not start: {', '.join(faults)}")
