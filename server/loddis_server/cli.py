"""`loddis-server`: serve; show the settings; examine the machine."""

from __future__ import annotations

import sys
from typing import NoReturn

from pydantic import Field
from pydantic_settings import SettingsConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loddis_runtime.command import CliSubCommand, SubCommand, run
from loddis_runtime.errors import LoddisError
from loddis_server.settings import ServerSettings

__all__ = ["Server", "main"]

STATUS_STYLES = {"ok": "green", "note": "yellow", "fault": "red"}


class Config(SubCommand):
    """Show the effective settings, where each comes from, and the variables that set them; secrets are hidden.

    What is set somewhere is bold. The document of --json holds the settings alone; with --origins it has them as
    `settings`, and beside them `origins`: from `flag`, `environment`, `file` or `default`, with the variable or file.

    Flags of the server stand before it: loddis-server --port 9000 config.
    """

    json_: bool = Field(default=False, alias="json", description="Print JSON.")
    origins: bool = Field(default=False, description="Say in the JSON, too, where each setting comes from.")


class Doctor(SubCommand):
    """Show which cores, engines and models there are, and what keeps the server from starting; nothing is changed.

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
            _show_settings(self, self.config)
        elif self.doctor is not None:
            _show_findings(self, as_json=self.doctor.json_)
        else:
            from loddis_server.serving import serve  # slow to import, and not needed for the others

            serve(self)


def main() -> NoReturn:
    """Run the command."""
    sys.exit(run(Server))


def _show_settings(settings: ServerSettings, options: Config) -> None:
    """Print the effective settings."""
    from loddis_server.config_report import print_settings, settings_json

    if options.json_:
        sys.stdout.write(settings_json(settings, with_origins=options.origins).decode())
    else:
        print_settings(settings)


def _show_findings(settings: ServerSettings, *, as_json: bool) -> None:
    """Print what was found."""
    from loddis_server.doctor import examine

    report = examine(settings)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        table = Table("", "subject", "finding", box=None, pad_edge=False)
        for finding in report.findings:
            status = Text(finding.status, style=STATUS_STYLES[finding.status])
            table.add_row(status, Text(finding.subject), Text(finding.detail))  # what is found is no markup
        Console().print(table)
    if report.has_faults:
        faults = [finding.subject for finding in report.findings if finding.status == "fault"]
        raise DoctorError(f"the server would not start: {', '.join(faults)}")
