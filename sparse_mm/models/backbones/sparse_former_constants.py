"""Numerical constants that differ between two releases of the authors' SparseFormer."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """Epsilons of normalisations, and the handling of edges.

    Attributes:
        stem: Arguments of :class:`~sparse_mm.models.layers.image_features.EarlyConvolution`.
        spread_epsilon: Added to the standard deviation of the points' offsets.
        mixing_epsilon: Of the weight generator's LayerNorm.
        clamps: Whether the gradient of the points' coordinates is clamped.
        spreads_time: Whether points in a clip are initialised at different times of their RoI.
            Otherwise all start in its middle, and their times are divided by a standard deviation
            of 0.
        holds_ends: Whether zero padding begins at the ends of the clip. Otherwise it begins at the
            middle of the first and the last frame, so features are attenuated there, as at the
            edges of an image.
    """

    stem: dict[str, Any]
    spread_epsilon: float
    mixing_epsilon: float
    clamps: bool
    spreads_time: bool
    holds_ends: bool


CONSTANTS = {
    # Of the training code (section 3 of the paper), which exists for images only.
    'training': Constants(
        stem={},
        spread_epsilon=1e-7,
        mixing_epsilon=1e-6,
        clamps=True,
        spreads_time=True,
        holds_ends=True,
    ),
    # Of the library, which contains the video model.
    'library': Constants(
        stem=dict(unbiased=False, epsilon=1e-5),
        spread_epsilon=1e-5,
        mixing_epsilon=1e-5,
        clamps=False,
        spreads_time=False,
        holds_ends=False,
    ),
}
