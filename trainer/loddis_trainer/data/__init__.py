"""Annotated infrared domains: readers, the decoded-frame cache, mixtures, and the batches of training."""

from loddis_trainer.augmentation import AugmentConfig
from loddis_trainer.data.batch import Batch
from loddis_trainer.data.domain import DomainDataset, find_domain
from loddis_trainer.data.errors import DataError
from loddis_trainer.data.joined import JoinedSplits, LabelledFrames, join
from loddis_trainer.data.loader import EpochPlan, TrainingLoader
from loddis_trainer.data.mixture import MixedDomain, Mixture, Role
from loddis_trainer.data.samples import TrainingSamples

__all__ = [
    "AugmentConfig",
    "Batch",
    "DataError",
    "DomainDataset",
    "EpochPlan",
    "JoinedSplits",
    "LabelledFrames",
    "MixedDomain",
    "Mixture",
    "Role",
    "TrainingLoader",
    "TrainingSamples",
    "find_domain",
    "join",
]
