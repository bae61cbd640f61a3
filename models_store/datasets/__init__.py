"""Labelled images from untrusted files. numpy and Pillow: the API records data sets, workers read them."""

from models_store.datasets.loading import ImageSet, load_split
from models_store.datasets.sources import SPLITS, DatasetLimits, Source
from models_store.datasets.survey import DatasetSurvey, survey

__all__ = ["SPLITS", "DatasetLimits", "DatasetSurvey", "ImageSet", "Source", "load_split", "survey"]
