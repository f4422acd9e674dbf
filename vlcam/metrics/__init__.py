"""How good a map is: functions and the records that they return, and a registry of those that give one number for each map.

>>> from vlcam.metrics import get_metric, list_metrics
>>> list_metrics("faithfulness")
['deletion', 'insertion', 'road', 'average-drop']
>>> get_metric("relevance-mass").paper
'Arras et al. 2022, arXiv 2003.07258'
"""

import warnings

from vlcam.metrics.correlation import occlusion_correlation, spearman, to_grid
from vlcam.metrics.drop import Confidence, confidence
from vlcam.metrics.imputation import impute
from vlcam.metrics.imputed_removal import road, road_combined
from vlcam.metrics.localisation import box_from_map, box_hit, iou, localisation_error
from vlcam.metrics.map_similarity import MapSimilarity, hog_similarity, similarity, ssim, target_similarity
from vlcam.metrics.mass import auc, inside_outside_ratio, lift, rank_accuracy, relevance_mass
from vlcam.metrics.noise import Stability, stability
from vlcam.metrics.otsu import otsu_mask, otsu_threshold
from vlcam.metrics.pixels import unit_range
from vlcam.metrics.pointing import TOLERANCE, class_accuracy, oracle_map, peak, pointing_game, pointing_hit
from vlcam.metrics.recall import Pointed, RecallScore, choose_threshold, is_hit, pointed, recall_score
from vlcam.metrics.registry import FaithfulnessMetric, LocalisationMetric, get_metric, list_metrics, register
from vlcam.metrics.removal import blurred, deletion, insertion, pixel_flipping
from vlcam.metrics.sanity import Randomised, randomisation_test, randomised
from vlcam.metrics.scoring import Curve, Score, predicts
from vlcam.metrics.seeds import Overlap, class_overlaps, label_overlaps, mean_iou, overlap, seed_labels, seed_mask
from vlcam.metrics.segment_removal import Irof, irof
from vlcam.metrics.segments import segment_means, slic
from vlcam.metrics.statistics import (
    Summary,
    auroc,
    average_precision,
    average_ranks,
    mean_average_precision,
    summarise,
    summarise_by,
)
from vlcam.metrics.word_masks import WordMaskScores, f1_iou, word_mask_scores
from vlcam.metrics.wsol import (
    LEVELS,
    MaxBoxAcc,
    RankedError,
    RankedHit,
    best_box_ious,
    max_box_acc,
    pixel_counts,
    pxap,
    ranked_error,
    ranked_hit,
)

__all__ = [
    "LEVELS",
    "TOLERANCE",
    "Confidence",
    "Curve",
    "FaithfulnessMetric",
    "Irof",
    "LocalisationMetric",
    "MapSimilarity",
    "MaxBoxAcc",
    "Overlap",
    "Pointed",
    "Randomised",
    "RankedError",
    "RankedHit",
    "RecallScore",
    "Score",
    "Stability",
    "Summary",
    "WordMaskScores",
    "auc",
    "auroc",
    "average_precision",
    "average_ranks",
    "best_box_ious",
    "blurred",
    "box_from_map",
    "box_hit",
    "choose_threshold",
    "class_accuracy",
    "class_overlaps",
    "confidence",
    "deletion",
    "f1_iou",
    "get_metric",
    "hog_similarity",
    "impute",
    "insertion",
    "inside_outside_ratio",
    "iou",
    "irof",
    "is_hit",
    "label_overlaps",
    "lift",
    "list_metrics",
    "localisation_error",
    "max_box_acc",
    "mean_average_precision",
    "mean_iou",
    "occlusion_correlation",
    "oracle_map",
    "otsu_mask",
    "otsu_threshold",
    "overlap",
    "peak",
    "pixel_counts",
    "pixel_flipping",
    "pointed",
    "pointing_game",
    "pointing_hit",
    "predicts",
    "pxap",
    "randomisation_test",
    "randomised",
    "rank_accuracy",
    "ranked_error",
    "ranked_hit",
    "recall_score",
    "register",
    "relevance_mass",
    "road",
    "road_combined",
    "seed_labels",
    "seed_mask",
    "segment_means",
    "similarity",
    "slic",
    "spearman",
    "ssim",
    "stability",
    "summarise",
    "summarise_by",
    "target_similarity",
    "to_grid",
    "unit_range",
    "word_mask_scores",
]


def __getattr__(name: str) -> object:
    if name != "Similarity":
        raise AttributeError(f"module 'vlcam.metrics' has no attribute {name!r}", name=name)
    warnings.warn("vlcam.metrics.Similarity is deprecated; use MapSimilarity", DeprecationWarning, stacklevel=2)
    return MapSimilarity
