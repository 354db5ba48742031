"""Splits of several domains read as one."""

from __future__ import annotations

import numpy as np
import pytest

from loddis_trainer.data import DomainDataset, JoinedSplits, join
from support.domains import write_coco_domain, write_drone_csv_domain


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[DomainDataset]:
    root = tmp_path_factory.mktemp("domains")
    write_drone_csv_domain(root / "dark", splits={"val": 3}, frames=4)
    write_coco_domain(root / "bright", splits={"val": 2})
    write_coco_domain(root / "clips", splits={"val": 2}, clips=True)
    return [
        DomainDataset.open(root / name, "val", cache_dir=root / "cache", progress=False)
        for name in ("dark", "bright", "clips")
    ]


def test_every_frame_is_there_once_with_all_that_is_known_of_it(parts: list[DomainDataset]) -> None:
    joined = join(parts)
    assert isinstance(joined, JoinedSplits)
    assert joined.label == "dark:val, bright:val, clips:val"
    assert len(joined) == sum(len(part) for part in parts)
    number = 0
    for part in parts:
        for own in range(len(part)):
            assert np.array_equal(joined.frame(number), part.frame(own))
            assert np.array_equal(joined.boxes(number), part.boxes(own))
            assert np.array_equal(joined.class_ids(number), part.class_ids(own))
            assert joined.record(number) is part.record(own)
            assert joined.sequence_of(number) == f"{part.label}/{part.sequence_of(own)}"
            for one, other in zip(joined.window(number, 3), part.window(own, 3), strict=True):
                assert np.array_equal(one, other)
            number += 1


def test_each_split_gives_as_many_of_the_frames_looked_at(parts: list[DomainDataset]) -> None:
    joined = join(parts)
    assert isinstance(joined, JoinedSplits)
    for count, expected in ((1, [1, 0, 0]), (5, [2, 1, 2]), (9, [4, 2, 3]), (10, [4, 2, 4])):
        labels = [joined.label_of(number) for number in joined.evenly_spaced(count)]
        assert [labels.count(part.label) for part in parts] == expected  # what `bright` lacks goes to the others
    assert joined.evenly_spaced(10_000) == list(range(len(joined)))


def test_a_single_split_stays_what_it_is(parts: list[DomainDataset]) -> None:
    assert join(parts[:1]) is parts[0]
    assert parts[0].parts == (parts[0],)
    with pytest.raises(ValueError, match="no split to join"):
        join([])
