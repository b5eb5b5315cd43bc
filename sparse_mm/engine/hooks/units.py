"""Checks that a hook and the training count the same: epochs or iterations."""

from mmengine.runner import IterBasedTrainLoop, Runner

from sparse_mm.errors import BadInputError


def check_places(hook: str, by_epoch: bool, **places: int | None) -> None:
    """Checks that what a hook counts are whole numbers.

    Args:
        hook: Name of the hook, for the message.
        by_epoch: Whether it counts epochs.
        **places: Its settings that count, under their names; None where one is not given.

    Raises:
        BadInputError: One is none, or below 0; or ``by_epoch`` is neither True nor False.
    """
    if not isinstance(by_epoch, bool):
        raise BadInputError(f'{hook} takes by_epoch=True or by_epoch=False, not {by_epoch!r}.')
    for name, value in places.items():
        if value is not None and (type(value) is not int or value < 0):
            unit = 'an epoch' if by_epoch else 'an iteration'
            raise BadInputError(
                f'{hook} takes {unit}, a whole number from 0, as {name}, not {value!r}.'
            )


def check_unit(runner: Runner, hook: str, by_epoch: bool, **places: int | None) -> None:
    """Refuses a hook that counts epochs in a training that counts iterations.

    Args:
        runner: Whose training is checked.
        hook: Name of the hook, for the message.
        by_epoch: Whether it counts epochs.
        **places: Its settings that count, under their names.

    Raises:
        BadInputError: The training counts iterations, and the hook epochs.
    """
    if not by_epoch or not isinstance(runner.train_loop, IterBasedTrainLoop):
        return
    given = {name: value for name, value in places.items() if value is not None}
    told = ', '.join(f'{name}={value}' for name, value in given.items())
    raise BadInputError(
        f'The training counts iterations, to max_iters={runner.max_iters}, and {hook} counts '
        f'epochs ({told}); give it by_epoch=False, with {" and ".join(given)} in iterations.'
    )
