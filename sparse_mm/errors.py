"""The one exception for what a user can put right."""


class BadInputError(ValueError):
    """A setting, a file or a machine does not fit.

    The message says what is wrong and what to do, in one sentence; ``tools/*.py`` print it alone,
    without a traceback.
    """
