"""The network whose features measure generated images."""

import pathlib

import jax

from jaxlab.core.model import from_linen
from jaxlab.core.recorded import record
from jaxlab.data.images.image_set import ImageData
from jaxlab.evals.classifier import train_classifier
from jaxlab.evals.embedding import image_features
from jaxlab.interop.images.inception import load_torch_inception
from jaxlab.metrics.sample_scores import INCEPTION, Features
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.models.vision.inception import Inception, inception_inputs

__all__ = ["find_features"]

_MANY = 10_000  # images to train on: enough for wider features


def find_features(
    weights: str, data: ImageData, run_path: pathlib.Path | None = None
) -> Features:
    """Take Inception where its weights are given, else train a classifier of the data.

    Scores carry the network's name, since those of different networks cannot be
    compared. The classifier is trained once, on the training images alone, and kept.

    Args:
        weights: File of Inception's weights, see `load_torch_inception`; empty: the
            classifier.
        data: The images.
        run_path: The folder of the run that asks. Several processes, which share it and
            perhaps nothing else, train the classifier there.

    Raises:
        InputError: If the weights cannot be read, or are not Inception's.
    """
    if weights:
        inception, params = load_torch_inception(weights)
        model = from_linen(inception, method=Inception.embed)
        return image_features(INCEPTION, model, params, prepare=inception_inputs)
    num_features = 128 if len(data.train) >= _MANY else 64
    network = record(FeatureClassifier, len(data.class_names), num_features)
    shared = run_path if jax.process_count() > 1 else None
    trained = train_classifier(network, data, folder=shared, resume_path=run_path)
    model = from_linen(network.network, method=FeatureClassifier.embed)
    name = "".join(c if c.isalnum() else "_" for c in data.name.rpartition("/")[2])
    features = image_features(
        f"{name}_classifier", model, trained.params, trained.model_state
    )
    return features._replace(accuracy=trained.accuracy)
