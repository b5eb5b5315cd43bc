"""The check of these models' inputs: position embeddings are for one size."""

from torch import Tensor

from sparse_mm.errors import BadInputError


def check_shape(inputs: Tensor, expected: tuple[int, ...], model: str) -> None:
    """Checks that inputs have the size that a model was built for.

    Args:
        inputs: ``(B, *expected)``.
        expected: Channels, then frames if there are any, height and width.
        model: Its name.

    Raises:
        BadInputError: They have another one.
    """
    if tuple(inputs.shape[1:]) != expected:
        raise BadInputError(
            f'This {model} was built for inputs of {_times(expected)}, not '
            f'{_times(inputs.shape[1:])}; build one of that size.'
        )


def check_divisible(sides: dict[str, tuple[int, int]], model: str) -> None:
    """Checks that patches cover images, and clips, without a rest.

    Args:
        sides: For each side of the input, by name, its length and the patch's.
        model: Its name.

    Raises:
        BadInputError: A length is below 1, or no multiple of the patch's.
    """
    for name, (length, patch) in sides.items():
        if min(length, patch) < 1 or length % patch:
            raise BadInputError(
                f'{model}: {name}={length} must be a multiple of the patch {patch}.'
            )


def _times(shape: tuple[int, ...]) -> str:
    return ' × '.join(map(str, shape))
