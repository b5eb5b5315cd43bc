"""The standard error of a score that comes from the choice of images.

A score is split into one for each image, or for each part of the images where there are many: the
jackknife's pseudo-values (Efron and Stein, The Jackknife Estimate of Variance, Annals of Statistics
1981). Of a mean over images, such as accuracy, they are the images' own values. For other scores,
such as mAP or mIoU, they are the influence of each image: G times the score minus G - 1 times the
score without that image. Their spread gives the score's standard error; the spread of their
differences gives that of the difference of two settings on the same images, which is far smaller.
"""

import base64
import binascii
import math

import numpy as np

from sparse_mm.errors import BadInputError

# At most so many parts: enough for an error to a twentieth of itself, and a state stays small.
MAX_PARTS = 200


def parts_of(num_images: int) -> np.ndarray:
    """Which part each image belongs to: ``(num_images,)`` int; parts are of about equal size."""
    size = -(-num_images // MAX_PARTS)
    return np.arange(num_images) % max(1, -(-num_images // max(1, size)))


def pseudo_values(score: float, without: np.ndarray) -> np.ndarray:
    """A score for each part of the images.

    Args:
        score: On all images.
        without: ``(G,)`` the score without each part.

    Returns:
        ``(G,)`` float64; their mean is the score where that is a mean over images, and about the
        score elsewhere.
    """
    number = len(without)
    return number * score - (number - 1) * np.asarray(without, dtype=float)


def standard_error(values: np.ndarray) -> float:
    """The standard error of a score, from its ``(G,)`` values by parts; NaN where G is below 2."""
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def error_of_difference(first: np.ndarray, second: np.ndarray) -> float:
    """The standard error of the difference of two scores on the same images.

    Args:
        first: ``(G,)`` values by parts of one score.
        second: ``(G,)`` those of the other, on the same images.

    Raises:
        BadInputError: They have other numbers of parts.
    """
    if len(first) != len(second):
        raise BadInputError(
            f'Scores on {len(first)} and {len(second)} parts of the images cannot be paired.'
        )
    return standard_error(np.asarray(first) - np.asarray(second))


def pack(values: np.ndarray | None) -> str:
    """Values as text for a JSON file, float32; empty where there are none, or not all finite."""
    if values is None or not len(values) or not np.isfinite(values).all():
        return ''
    return base64.b64encode(np.asarray(values, dtype='<f4').tobytes()).decode()


def unpack(text: str) -> np.ndarray | None:
    """What :func:`pack` took; None for an empty text.

    Raises:
        ValueError: It is something else.
    """
    if not text:
        return None
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype='<f4')
    except binascii.Error as error:
        raise ValueError('values by images that are no base64') from error
    if not np.isfinite(values).all():
        raise ValueError('values by images that are not finite')
    return values.astype(float)
