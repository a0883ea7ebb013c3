"""The network whose features measure generated images."""

from jaxlab.core.model import from_linen
from jaxlab.data.images.image_set import ImageData
from jaxlab.evals.classifier import train_classifier
from jaxlab.evals.embedding import image_features
from jaxlab.interop.images.inception import load_torch_inception
from jaxlab.metrics.sample_scores import INCEPTION, Features
from jaxlab.models.vision.feature_classifier import FeatureClassifier
from jaxlab.models.vision.inception import Inception, inception_inputs

__all__ = ["find_features"]

_MANY = 10_000  # images to train on: enough for wider features


def find_features(weights: str, data: ImageData) -> Features:
    """Take Inception where its weights are given, else train a classifier of the data.

    Scores carry the network's name, since those of different networks cannot be
    compared. The classifier is trained once, on the training images alone, and kept.

    Args:
        weights: File of Inception's weights, see `load_torch_inception`; empty: the
            classifier.
        data: The images.

    Raises:
        InputError: If the weights cannot be read, or are not Inception's.
    """
    if weights:
        inception, params = load_torch_inception(weights)
        model = from_linen(inception, method=Inception.embed)
        return image_features(INCEPTION, model, params, prepare=inception_inputs)
    num_features = 128 if len(data.train) >= _MANY else 64
    module = FeatureClassifier(len(data.class_names), num_features)
    trained = train_classifier(from_linen(module), data)
    model = from_linen(module, method=FeatureClassifier.embed)
    name = "".join(c if c.isalnum() else "_" for c in data.name.rpartition("/")[2])
    features = image_features(
        f"{name}_classifier", model, trained.params, trained.model_state
    )
    return features._replace(accuracy=trained.accuracy)
