"""The report of one or several trainings: a single HTML page with the paper's evidence, for one's own data.

runs            reads what trainings left behind
collect         measures their best weights on splits
svg, palette    how figures look; colours that follow the page's light or dark scheme
figures         of detection: precision and recall, false alarms, sizes, negative shift
figures_training  of training: losses, correlation, separability, embeddings, focus
pictures        hits, misses and false alarms
feature_maps    target, background and recombined maps
sections        what stands where, and what to look for
page            the page itself
"""

from loddis_trainer.reporting.report import write_report

__all__ = ["write_report"]
