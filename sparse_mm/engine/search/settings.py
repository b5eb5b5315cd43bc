"""The settings of a search, read from a config or a command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from numbers import Real
from typing import Any

from sparse_mm.deploy import check_engine
from sparse_mm.engine.hosts import is_kind, metric_of
from sparse_mm.engine.search.setting_kinds import check_number, check_numbers, check_sides
from sparse_mm.errors import BadInputError, nearest
from sparse_mm.search.budget import Budget
from sparse_mm.search.evolution import EvolutionSettings
from sparse_mm.search.space import CHOICES
from sparse_mm.search.timing import DTYPES

# What SparsitySearchHook takes besides, and MMEngine with it.
HOOK_SETTINGS = 'type', 'at', 'by_epoch', 'priority'
# Numbers that may be None, for the default or for all.
OPTIONAL = 'generations', 'evaluations', 'num_images', 'final_images'


@dataclass(frozen=True)
class SearchSettings:
    """What to search for, where, and how long.

    Attributes:
        budgets: One winner is found for each; the first is the one to finetune.
        metric: The score, one of the config's evaluator: ``'coco/bbox_mAP'``; or ``'loss'``, the
            model's own on the validation images, whose pipeline must then give annotations.
        rule: ``'greater'`` if more of the metric is better, or ``'less'``, as of the loss always.
        evolution: Evaluations for each budget, population, parents, mutation, strategy, seed.
        choices: The ratios to choose from.
        stage_limits: For each stage the largest ratio or (smallest, largest); None sets no limit.
        num_images: Validation images for a score; None is all.
        finalists: How many of the best for each budget are scored again, on more images.
        final_images: On how many; None is all.
        image_size: ``(H, W)`` for the costs; None reads it from the validation pipeline.
        batch: Images for the costs.
        dtype: Of latencies measured here: ``'float32'``, ``'float16'`` or ``'bfloat16'``.
        engine: What the model will be deployed on: latencies are measured there. Scores are
            PyTorch's, since each candidate would need a graph of its own.
        precision: Of the backbone in that engine.
        latency_table: A JSON file measured where the model will be deployed; None measures here
            if a budget asks for latency.
        latency_seconds: About how long to measure.
    """

    budgets: tuple[Budget, ...]
    metric: str
    rule: str
    evolution: EvolutionSettings
    choices: tuple[float, ...]
    stage_limits: tuple | None
    num_images: int | None
    finalists: int
    final_images: int | None
    image_size: tuple[int, int] | None
    batch: int
    dtype: str
    engine: str
    precision: str
    latency_table: str | None
    latency_seconds: float

    @classmethod
    def build(
        cls,
        budget: str | Mapping | Sequence,
        metric: str,
        rule: str = 'greater',
        generations: int | None = None,
        evaluations: int | None = None,
        population: int = 100,
        parents: int = 25,
        mutation: float = 0.1,
        strategy: str = 'evolution',
        seed: int = 0,
        choices: Sequence[float] = CHOICES,
        stage_limits: Sequence | None = None,
        num_images: int | None = 500,
        finalists: int = 5,
        final_images: int | None = None,
        image_size: Sequence[int] | None = None,
        batch: int = 4,
        dtype: str = 'float32',
        engine: str = 'torch',
        precision: str = 'float32',
        latency_table: str | None = None,
        latency_seconds: float = 60.0,
    ) -> 'SearchSettings':
        """Reads the settings as they stand in a config.

        Args:
            budget: One budget or a list of them, see
                :meth:`~sparse_mm.search.budget.Budget.parse`.
            metric: As above.
            rule: As above. Defaults to 'greater'.
            generations: How many populations to score. Defaults to 20, if ``evaluations`` is not
                given.
            evaluations: How many candidates to score for each budget, instead of ``generations``.
            population: Candidates of a generation. Defaults to 100.
            parents: How many of the best so far mutate and cross. Defaults to 25.
            mutation: Probability of drawing a gene anew. Defaults to 0.1.
            strategy: 'evolution'; 'random' to draw all candidates independently; or 'surrogate',
                where a Gaussian process over all scores chooses what to score. Defaults to
                'evolution'.
            seed: Start of all random numbers. Defaults to 0.
            choices: As above. Defaults to 0, 0.1, …, 0.8.
            stage_limits: As above. Defaults to None.
            num_images: As above. Defaults to 500.
            finalists: As above. Defaults to 5.
            final_images: As above. Defaults to None.
            image_size: As above. Defaults to None.
            batch: As above. Defaults to 4.
            dtype: As above. Defaults to 'float32'.
            engine: As above. Defaults to 'torch'.
            precision: As above. Defaults to 'float32'.
            latency_table: As above. Defaults to None.
            latency_seconds: As above. Defaults to 60.

        Raises:
            BadInputError: A setting is out of range.
        """
        if not isinstance(budget, str | Mapping | Sequence | Budget | None):
            raise BadInputError(f'budget is read as in budget="latency=0.7", not {budget!r}.')
        for name, value, least in (
            ('generations', generations, 1),
            ('evaluations', evaluations, 1),
            ('population', population, 1),
            ('parents', parents, 1),
            ('seed', seed, 0),
            ('num_images', num_images, 1),
            ('finalists', finalists, 0),
            ('final_images', final_images, 1),
            ('batch', batch, 1),
        ):
            check_number(name, value, least, optional=name in OPTIONAL)
        if seed >= 2**32:
            raise BadInputError(f'seed of the search must be below 2**32, not {seed}.')
        for name, number in (('mutation', mutation), ('latency_seconds', latency_seconds)):
            if not isinstance(number, Real) or isinstance(number, bool):
                raise BadInputError(f'{name} of the search must be a number, not {number!r}.')
        for name, named in (('metric', metric), ('latency_table', latency_table)):
            if not isinstance(named, str | None):
                raise BadInputError(f'{name} of the search must be a name, not {named!r}.')
        check_numbers('choices', choices)
        if stage_limits is not None:
            check_numbers('stage_limits', stage_limits, pairs=True)
        if image_size is not None:
            check_sides('image_size', image_size)
        if generations is not None and evaluations is not None:
            raise BadInputError('Give the search either generations or evaluations, not both.')
        if evaluations is None:
            evaluations = population * (20 if generations is None else generations)
        given = [budget] if isinstance(budget, (str, Mapping, Budget)) else list(budget or [])
        budgets = tuple(dict.fromkeys(Budget.parse(item) for item in given))
        if not budgets:
            raise BadInputError('The search needs a budget, as in budget="latency=0.7".')
        if rule not in ('greater', 'less'):
            raise BadInputError(f"rule is 'greater' or 'less', not {rule!r}.")
        if dtype not in DTYPES:
            raise BadInputError(f'dtype must be one of {", ".join(DTYPES)}, not {dtype!r}.')
        check_engine(engine, precision)
        if dtype != 'float32' and (engine, precision) != ('torch', 'float32'):
            raise BadInputError(
                f"dtype={dtype!r} is PyTorch's autocast; with an engine give precision alone."
            )
        if latency_seconds <= 0:
            raise BadInputError(f'latency_seconds must be above 0, not {latency_seconds}.')
        if strategy == 'surrogate':
            _check_scored_again(num_images, finalists, final_images)
        return cls(
            budgets,
            metric,
            'less' if metric == 'loss' else rule,
            EvolutionSettings(evaluations, population, parents, mutation, strategy, seed),
            tuple(choices),
            None if stage_limits is None else tuple(stage_limits),
            num_images,
            finalists,
            final_images,
            None if image_size is None else (int(image_size[0]), int(image_size[1])),
            batch,
            dtype,
            engine,
            precision,
            latency_table,
            latency_seconds,
        )

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> 'SearchSettings':
        """Reads settings by their names, which :meth:`build` has.

        Raises:
            BadInputError: There is no such name, ``budget`` or ``metric`` is missing, or a setting
                is out of range.
        """
        parameters = signature(cls.build).parameters
        for name in settings:
            if name not in parameters:
                raise BadInputError(
                    f'The search (SparsitySearchHook) has no setting {name!r}'
                    f'{nearest(name, parameters) or "."}'
                )
        for name, example in (('budget', 'latency=0.7'), ('metric', 'coco/bbox_mAP')):
            if settings.get(name) is None:
                raise BadInputError(
                    f'The search needs a {name}, as in SparsitySearchHook\'s {name}="{example}".'
                )
        return cls.build(**settings)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any], given: Mapping[str, Any]) -> 'SearchSettings':
        """Joins the settings of a config's SparsitySearchHook with others, which go before them.

        Args:
            cfg: A config; without such a hook its metric is that of its best checkpoint, or the
                usual one of its task.
            given: Arguments of :meth:`build`; what is None is not given.

        Raises:
            BadInputError: A setting is out of range, or there is no budget.
        """
        hooks = cfg.get('custom_hooks') or []
        hook: Any = next((h for h in hooks if is_kind(h['type'], 'SparsitySearchHook')), {})
        settings = {key: hook[key] for key in hook if key not in HOOK_SETTINGS}
        known = {name: value for name, value in given.items() if value is not None}
        if 'evaluations' in known or 'generations' in known:
            settings.pop('evaluations', None)
            settings.pop('generations', None)
        settings.update(known)
        settings.setdefault('metric', metric_of(cfg))
        return cls.read(settings)

    @property
    def score_name(self) -> str:
        """What a score is called: ``'negative loss'``, since of scores the highest is the best."""
        return self.metric if self.rule == 'greater' else f'negative {self.metric}'

    @property
    def deployed(self) -> bool:
        """Whether latencies are those of another engine or precision than PyTorch's float32."""
        return (self.engine, self.precision) != ('torch', 'float32')

    @property
    def asks_for_latency(self) -> bool:
        """Whether a budget or a table makes latency a cost."""
        units = {budget.unit for budget in self.budgets}
        return self.latency_table is not None or bool(units & {'latency', 'ms'})

    @property
    def in_milliseconds(self) -> bool:
        """Whether a budget is of milliseconds, not relative to the dense backbone."""
        return any(budget.unit == 'ms' for budget in self.budgets)

    def identity(self) -> dict[str, Any]:
        """What of the settings must be the same for a search to go on from a saved state."""
        named = {item.name: getattr(self, item.name) for item in fields(self)}
        del named['latency_seconds'], named['latency_table']
        if not self.deployed:  # as states say that were saved before there were engines
            del named['engine'], named['precision']
        named['budgets'] = [str(budget) for budget in self.budgets]
        named['evolution'] = vars(self.evolution)
        return named


def _check_scored_again(num_images: int | None, finalists: int, final_images: int | None) -> None:
    """Checks that a surrogate's finalists, which predictions choose, are scored on more images.

    Where every score is one of all images, so is theirs.

    Raises:
        BadInputError: They are not.
    """
    more = final_images is None or (num_images is not None and final_images > num_images)
    if not finalists or not more:
        raise BadInputError(
            "With strategy='surrogate' predictions choose the finalists, which must be scored on "
            f'more images: finalists at least 1 and final_images above num_images or None for all; '
            f'they are {finalists}, {final_images} and {num_images}.'
        )
