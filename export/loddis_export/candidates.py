"""More candidates a frame for a bundle that is there: another version of it, with the same weights.

The network gives its K best grid points, duplicates among them. A bright target holds about six, so that a crowd takes
them all, and what is dim in it is lost before suppression has its turn. K is a constant of the graph: a bundle needs no
checkpoint to get another.
"""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

from pydantic import ValidationError

from loddis_export.bundle_folder import check_is_new, name_and_version, new_bundle, not_describable, save_manifest
from loddis_export.errors import ExportError
from loddis_export.graph import set_candidates
from loddis_export.model_card import CARD, card_of_other_candidates
from loddis_runtime import load
from loddis_runtime.bundle import Bundle, graph_name
from loddis_runtime.manifest import Manifest

__all__ = ["change_candidates"]


def change_candidates(path: Path, out: Path, count: int) -> Manifest:
    """Make a bundle of another one that gives another number of candidates; that one stays as it is.

    Those that both give are the same to the bit, in each graph. Figures, parity and operating point are taken over, and
    the card says what they were measured with. Engines are not: they are of the graphs from before.

    Args:
        path: Folder of the bundle.
        out: Folder of the new one, `REPO/NAME/VERSION`. Must not exist.
        count: K, candidates a frame; all grid points where there are fewer.

    Returns:
        What the new bundle says about itself.

    Raises:
        BundleError, ChecksumError: The bundle cannot be used.
        ExportError: `out` exists or its names do not suit, the bundle has that many already, or a graph is not one of
            this project's.
    """
    check_is_new(out)
    bundle = Bundle.open(path)
    before = bundle.manifest
    count = min(count, before.size_hw[0] // before.stride * (before.size_hw[1] // before.stride))
    if count == before.max_detections:
        raise ExportError(f"{path} gives {count} candidates a frame already")
    name, version = name_and_version(out)
    changes = {"name": name, "version": version, "max_detections": count, "created": dt.datetime.now(dt.UTC)}
    try:
        after = Manifest.model_validate(before.model_dump() | changes)
    except ValidationError as error:
        raise not_describable(error) from error
    with new_bundle(out) as building:
        for file in before.files:
            (building / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(path / file, building / file)
        if CARD in before.files:
            card = (path / CARD).read_text(encoding="utf-8")
            (building / CARD).write_text(card_of_other_candidates(card, before, after), encoding="utf-8")
        for precision in bundle.precisions:
            set_candidates(building / graph_name(precision), count)
        after = save_manifest(after, building, before.files)
        for precision in bundle.precisions:
            load(building, device="cpu", precision=precision).close()  # what is shipped must open
    return after
