"""What the splits of a domain list, whatever its format: each thing once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from loddis_trainer.data.errors import DataError

__all__ = ["check_disjoint"]


def check_disjoint(path: Path, split: str, listed: Mapping[str, Sequence[str]], *, kind: str) -> None:
    """Refuse what a split lists twice, or shares with another: that one would measure what was learnt by heart.

    Args:
        path: Where the split is listed, for errors.
        split: The one to check.
        listed: Names by split, of all splits.
        kind: What is named: a sequence, a video, an image.

    Raises:
        DataError: A name that comes twice.
    """
    counted = Counter(listed[split])
    twice = [name for name, count in counted.items() if count > 1]
    if twice:
        raise DataError(f"{path} lists {kind} '{min(twice)}' twice in '{split}'")
    for other, names in listed.items():
        shared = counted.keys() & set(names) if other != split else ()
        if shared:
            raise DataError(f"{path} lists {kind} '{min(shared)}' in '{split}', which is in '{other}' as well")
