"""Mistakes of users and the messages for them: a line for each mistake, by its kind.

A line is a command line of ``tools/`` in the folder that :mod:`tests.mistakes.world` makes, and a
piece of the sentence that ends it. ``{configs}`` is the folder of our configs, ``{here}`` that of
the files. At most three lines are of a kind, so that the table shows how many kinds there are.
"""

from tests.mistakes.configs_and_files import CONFIGS, FILES
from tests.mistakes.numbers_and_choices import CHOICES, NUMBERS

TABLE = {**CONFIGS, **FILES, **NUMBERS, **CHOICES}
