"""Names that annotations give: text that can be printed, and files within the domain."""

from __future__ import annotations

import posixpath

from loddis_trainer.data.errors import DataError

__all__ = ["check_file_name", "check_text"]


def check_text(name: str, *, kind: str, where: str) -> None:
    """Refuse a name that is no Unicode text: no message, table or page could show it.

    Args:
        name: As annotated.
        kind: What is named, for errors.
        where: Names the annotation file in errors.

    Raises:
        DataError: A surrogate, as stands for a byte of a file name that is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where} names {kind} {name!a}, which is not UTF-8: rename it") from None


def check_file_name(name: str, *, folder: str, kind: str, where: str) -> None:
    """Refuse a file's name that is no text, or that leads out of the domain.

    Args:
        name: As annotated, relative to `folder`.
        folder: Of the domain, in which files of this kind lie.
        kind: What is named, for errors.
        where: Names the annotation file in errors.

    Raises:
        DataError: It is not UTF-8, absolute, or goes up beyond the domain's folder.
    """
    check_text(name, kind=kind, where=where)
    path = posixpath.normpath(posixpath.join(folder, name))
    if path.startswith("/") or path.split("/")[0] == "..":
        raise DataError(f"{where} names {kind} '{name}', which lies outside of the domain's folder")
