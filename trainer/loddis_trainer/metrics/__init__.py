"""Metrics of detection in numpy: average precision, the field's Pr / Re / F1, Pd and false alarms per frame."""

from loddis_trainer.metrics.average_precision import PrecisionRecall, mean_average_precision, precision_recall
from loddis_trainer.metrics.detection_probability import DetectionRoc, common_threshold, detection_roc
from loddis_trainer.metrics.groups import ClassScores, Group, SequenceScores
from loddis_trainer.metrics.images import ImageResult
from loddis_trainer.metrics.paper import PaperScores, PlainScores, paper_scores, plain_scores
from loddis_trainer.metrics.report import Metrics, evaluate_images, mean_map50, mean_of_defined

__all__ = [
    "ClassScores",
    "DetectionRoc",
    "Group",
    "ImageResult",
    "Metrics",
    "PaperScores",
    "PlainScores",
    "PrecisionRecall",
    "SequenceScores",
    "common_threshold",
    "detection_roc",
    "evaluate_images",
    "mean_average_precision",
    "mean_map50",
    "mean_of_defined",
    "paper_scores",
    "plain_scores",
    "precision_recall",
]
