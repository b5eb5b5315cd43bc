"""The small numbers in which two releases of the authors' SparseFormer differ."""

from typing import Any, NamedTuple


class Constants(NamedTuple):
    """What is added to variances, and what is done at the edges.

    Attributes:
        stem: Arguments of :class:`~sparse_mm.models.layers.image_features.EarlyConvolution`.
        spread_epsilon: Added to the deviation of the points' offsets.
        mixing_epsilon: Of the weight generator's LayerNorm.
        clamps: Whether the gradient of the points' coordinates is clamped.
        spreads_time: Whether points in a clip start spread over the time of their RoI. Otherwise
            they start at its middle, and their time is divided by a deviation of 0.
        holds_ends: Whether the first and the last frame fill their whole time, so that zeros begin
            at the clip's ends. Otherwise a clip darkens from the middle of these frames on, as an
            image does at its edges.
    """

    stem: dict[str, Any]
    spread_epsilon: float
    mixing_epsilon: float
    clamps: bool
    spreads_time: bool
    holds_ends: bool


CONSTANTS = {
    # Of the training code (section 3 of the paper), which is all there is for images.
    'training': Constants(
        stem={},
        spread_epsilon=1e-7,
        mixing_epsilon=1e-6,
        clamps=True,
        spreads_time=True,
        holds_ends=True,
    ),
    # Of the library, which has the video model.
    'library': Constants(
        stem=dict(unbiased=False, epsilon=1e-5),
        spread_epsilon=1e-5,
        mixing_epsilon=1e-5,
        clamps=False,
        spreads_time=False,
        holds_ends=False,
    ),
}
