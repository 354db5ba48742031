"""Parameters that do not fit, where their own types cannot tell."""

from __future__ import annotations

from collections import Counter

from fastapi import Request

from loddis_server.problems import BAD_PARAMETER, ProblemError

__all__ = ["parameter_fault", "refuse_parameters", "refuse_repetition"]


def parameter_fault(parameter: str, message: str) -> ProblemError:
    """Give the error for a parameter that its own type cannot tell is wrong."""
    errors = [{"parameter": parameter, "message": message}]
    return ProblemError(BAD_PARAMETER, f"{parameter}: {message}", errors=errors)


def refuse_repetition(request: Request, *, repeatable: frozenset[str] = frozenset()) -> None:
    """Refuse a parameter that is there twice: one of its values would be dropped without a word.

    Args:
        request: With the parameters.
        repeatable: Parameters whose values are all used.

    Raises:
        ProblemError: One is there twice.
    """
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1 and name not in repeatable:
            raise parameter_fault(name, f"it is there {times} times, expected once")


def refuse_parameters(request: Request) -> None:
    """Refuse all parameters where there are none, so that a filter that does not exist is not taken for one.

    Args:
        request: With the parameters.

    Raises:
        ProblemError: There is one.
    """
    for name in request.query_params:
        raise parameter_fault(name, "there is no such parameter")
