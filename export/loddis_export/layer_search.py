"""Which layers of an int8 graph stay in float: found by what each costs in detections, not by guess."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence

from rich.console import Console

from loddis_export.parity_report import PrecisionParity

__all__ = ["Trial", "find_float_layers"]

log = logging.getLogger(__name__)

# Layers that stay in float -> what the graph's detections are then worth.
Trial = Callable[[tuple[str, ...]], PrecisionParity]


def find_float_layers(
    layers: Sequence[str], try_out: Trial, *, always: tuple[str, ...], progress: bool = False
) -> PrecisionParity:
    """Find few layers to leave in float so that the rest may be int8.

    If the graph keeps within its limits with all layers in int8 but `always`, that is all. If not, blocks of layers
    (the stages of the backbone, the parts of the fusion, the branches of the head) are left in float one after the
    other, each time the one whose loss is measured to weigh most; then single layers of these blocks are given back
    where the limits allow it.

    Args:
        layers: Names in the order they run in.
        try_out: Quantises all layers but those given, and compares.
        always: Layers that are left in float from the start.
        progress: Say of each trial, on stderr, what it is and what it came to: it takes long, and there may be many.

    Returns:
        The comparison with the layers that were chosen; beyond its limits only if that is so whatever stays in float.
    """
    if progress:
        try_out = _told(try_out, len(layers))
    best = try_out(always)
    blocks = _blocks([layer for layer in layers if layer not in always])
    chosen: list[str] = []
    while best.excess > 1:
        rest = [name for name in blocks if name not in chosen]
        if not rest:
            return best
        trials = {name: try_out(_in_order(layers, always, blocks, [*chosen, name])) for name in rest}
        name = min(trials, key=lambda block: trials[block].excess)
        log.info("%s stays in float: %.2f of the limits, was %.2f", name, trials[name].excess, best.excess)
        chosen.append(name)
        best = trials[name]
    for layer in best.float_layers:
        if layer in always:
            continue
        fewer = try_out(tuple(name for name in best.float_layers if name != layer))
        if fewer.excess <= 1:
            best = fewer
    return best


def _told(try_out: Trial, layers: int) -> Trial:
    """Give a trial that says what it tries, and what that came to."""
    console, numbers = Console(stderr=True), itertools.count(1)

    def tell(float_layers: tuple[str, ...]) -> PrecisionParity:
        what = f"int8, trial {next(numbers)}, {len(float_layers)} of {layers} layers in float"
        with console.status(what):
            parity = try_out(float_layers)
        console.print(f"{what}: losses at {parity.excess:.2f} of their limits", highlight=False, soft_wrap=True)
        return parity

    return tell


def _blocks(layers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group layers by the part of the network that they are in: `backbone.stage8`, `head.box_branch`."""
    blocks: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        block = ".".join(layer.split(".")[:2])
        blocks[block] = (*blocks.get(block, ()), layer)
    return blocks


def _in_order(
    layers: Sequence[str], always: tuple[str, ...], blocks: dict[str, tuple[str, ...]], chosen: Sequence[str]
) -> tuple[str, ...]:
    wanted = {*always, *(layer for name in chosen for layer in blocks[name])}
    return tuple(layer for layer in layers if layer in wanted)
