"""What a benchmark compares: named backbones, from configs, from the registry or from a preset."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from sparse_mm.deploy import ENGINES, check_engine
from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.hosts import is_kind, scope_of
from sparse_mm.engine.image_sizes import say_sliding, usual_clip_length, usual_image_size
from sparse_mm.engine.inspection import backbone_config
from sparse_mm.engine.quiet import init_weights_quietly
from sparse_mm.errors import BadInputError
from tools.benchmarks.counting import WithoutRandomNumbers
from tools.benchmarks.whole import build_whole, model_config

RANDOM = 'random'
"""As ``pruning_ratios``: drawn for every pass, as the adaptation draws them."""
CLIP_BACKBONES = ('VideoSparseFormer',)


@dataclass(frozen=True)
class Run:
    """One backbone to compare; nothing but plain values, so that another process can build it.

    Attributes:
        name: What the table calls it.
        settings: Its config: ``type`` and arguments.
        image_size: ``(H, W)`` in pixels.
        scope: The registry scope that its type is looked up in first.
        imports: Modules that its config imports.
        weights_of: The run whose weights it takes over.
        frames: Of a clip, for models of videos.
        engine: What computes it; see :class:`~sparse_mm.deploy.DeployedBackbone`.
        precision: Of the backbone there.
        whole: Whether it is a whole model, from backbone to post-processing.
    """

    name: str
    settings: dict[str, Any]
    image_size: tuple[int, int]
    scope: str = 'mmengine'
    imports: tuple[str, ...] = ()
    weights_of: str | None = None
    frames: int | None = None
    engine: str = 'torch'
    precision: str = 'float32'
    whole: bool = False

    def input_shape(self, batch: int, image_size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """``(batch, 3, H, W)``, for videos ``(batch, 3, frames, H, W)``.

        Args:
            batch: Images or clips.
            image_size: Another size than the run's.
        """
        frames = () if self.frames is None else (self.frames,)
        return (batch, 3, *frames, *(image_size or self.image_size))

    @property
    def deployed(self) -> bool:
        """Whether something else than the backbone itself computes it."""
        return (self.engine, self.precision) != ('torch', 'float32')

    @property
    def draws_ratios(self) -> bool:
        """Whether every pass has other ratios."""
        return bool(self.settings.get('pruning_ratios') == RANDOM)


def on_engines(runs: Sequence[Run], engines: Sequence[str], precisions: Sequence[str]) -> list[Run]:
    """Each run on each engine in each precision, as far as the engine has it.

    Args:
        runs: What to compare.
        engines: Of :data:`~sparse_mm.deploy.ENGINES`.
        precisions: ``'float32'``, ``'bfloat16'``.

    Raises:
        BadInputError: An engine is not here, or has none of the precisions.
    """
    variants = []
    for engine in engines:
        fitting = [one for one in precisions if one in ENGINES[engine].precisions]
        for precision in fitting or precisions:
            check_engine(engine, precision)
            variants.append((engine, precision))
    if variants == [('torch', 'float32')]:
        return list(runs)

    def named(name: str, variant: tuple[str, str]) -> str:
        return f'{name}, {variant[0]} {variant[1]}'

    return [
        replace(
            run,
            name=named(run.name, variant),
            engine=variant[0],
            precision=variant[1],
            weights_of=None if run.weights_of is None else named(run.weights_of, variants[0]),
        )
        for variant in variants
        for run in runs
    ]


def read_run(
    given: Sequence[str],
    image_size: tuple[int, int] | None,
    whole: bool = False,
    frames: int | None = None,
) -> Run:
    """Reads one ``--run NAME CONFIG [key=value ...]``.

    Args:
        given: Its words. CONFIG is a config file, or the name of a registered backbone, such as
            ``mmdet.SwinTransformer``, whose arguments are then the keys.
        image_size: ``(H, W)``, instead of the config's own.
        whole: Whether to take the config's whole model, not its backbone alone.
        frames: Of clips, instead of the config's own; models of images have none.

    Raises:
        BadInputError: It names no config, an override is not key=value, or no size is known.
    """
    if len(given) < 2 or not all('=' in item for item in given[2:]):
        raise BadInputError(
            f'--run {" ".join(given)} must be a name, a config and overrides as key=value.'
        )
    options = argparse.Namespace()
    DictAction([], 'options')(argparse.ArgumentParser(), options, list(given[2:]))
    name, source = given[:2]
    if not source.endswith(('.py', '.json', '.yaml', '.yml')):
        if whole:
            raise BadInputError(f'--run {name} {source} names no config file, which --whole needs.')
        if image_size is None:
            raise BadInputError(f'--run {name} {source} names no config file; give --shape H W.')
        overridden = Config(dict(type=source))
        overridden.merge_from_dict(options.options)
        if not is_kind(source, *CLIP_BACKBONES):
            return Run(name, overridden.to_dict(), image_size)
        if frames is None:
            raise BadInputError(f'--run {name} {source} is a model of clips; give --frames N, too.')
        return Run(name, overridden.to_dict(), image_size, frames=frames)
    cfg = read_config(source, options.options)
    backbone = Config(backbone_config(cfg)).to_dict()
    if image_size is None and say_sliding(cfg, 'test'):
        print(f'{name}: {say_sliding(cfg, "test")}', file=sys.stderr)
    own = None
    if is_kind(backbone['type'], *CLIP_BACKBONES):
        own = frames or usual_clip_length(cfg, 'test')
    return Run(
        name,
        model_config(cfg) if whole else backbone,
        image_size or usual_image_size(cfg, 'test'),
        scope_of(cfg),
        tuple(cfg.get('custom_imports', {}).get('imports', ())),
        frames=own,
        whole=whole,
    )


def build(run: Run, initialise: bool = True) -> nn.Module:
    """Builds a run's backbone, from scratch: speed does not depend on the weights.

    Args:
        run: What to build.
        initialise: Whether its weights start as its paper says; counting needs none.

    Raises:
        BadInputError: There is no such backbone, or it does not take these arguments.
    """
    if run.whole:
        return build_whole(run.settings, run.scope, run.imports)
    settings = {**run.settings, 'init_cfg': None}
    if run.draws_ratios:
        del settings['pruning_ratios']
    import_modules_from_strings(list(run.imports))
    init_default_scope(run.scope)
    with redirect_stdout(sys.stderr):  # MMEngine logs to stdout, which is for the result
        try:
            with nullcontext() if initialise else WithoutRandomNumbers():
                backbone = MODELS.build(settings)
        except (KeyError, TypeError) as error:
            reason = ' '.join(str(error.args[0]).split())
            raise BadInputError(f'The run {run.name!r} cannot be built: {reason}') from error
        if run.draws_ratios and not hasattr(backbone, 'set_pruning_ratios'):
            kind = type(backbone).__name__
            raise BadInputError(f'The run {run.name!r} has random ratios; {kind} has none to set.')
        if initialise:
            init_weights_quietly(backbone)
    return backbone


SWIN_T = dict(
    embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, drop_path_rate=0.2
)
# As configs/sparsevit_mask2former_cityscapes.py has it.
SWIN_L = dict(
    pretrain_img_size=384,
    embed_dims=192,
    depths=[2, 2, 18, 2],
    num_heads=[6, 12, 24, 48],
    window_size=12,
    drop_path_rate=0.3,
)
# The authors' released setting of 34 ms, and what corresponds to it with nine pairs in stage 3.
MIDDLE_T = [[0.6, 0.6], [0, 0], [0.2, 0.2, 0.4, 0.4, 0.5, 0.5], [0, 0]]
MIDDLE_L = [[0.6], [0], [0.2] * 3 + [0.4] * 3 + [0.5] * 3, [0]]


@dataclass(frozen=True)
class Preset:
    """A table of the documentation.

    Attributes:
        runs: Its rows in inference, the baseline first.
        batch: Its images.
        training: Its rows in a training step, where they are others.
    """

    runs: tuple[Run, ...]
    batch: int
    training: tuple[Run, ...] = ()

    def rows(self, train: bool, image_size: tuple[int, int] | None) -> list[Run]:
        """The rows, at another size if one is given."""
        rows = self.training if train and self.training else self.runs
        return [replace(run, image_size=image_size or run.image_size) for run in rows]


def _swin_preset(swin: dict, size: tuple[int, int], batch: int, middle: Any = MIDDLE_T) -> Preset:
    """SparseViT against mmdet's Swin with the same weights: dense, middle setting, 60 %."""
    baseline = Run('mmdet Swin, dense', dict(type='mmdet.SwinTransformer', **swin), size)

    def ours(name: str, pruning_ratios: Any) -> Run:
        settings = dict(type='SparseViT', **swin, pruning_ratios=pruning_ratios)
        return Run(name, settings, size, weights_of=baseline.name)

    dense = ours('SparseViT, dense', None)
    sparse = ours('SparseViT, middle setting', middle), ours('SparseViT, 60 % everywhere', 0.6)
    drawn = ours('SparseViT, random ratios', RANDOM)
    return Preset((baseline, dense, *sparse), batch, (baseline, dense, drawn))


PRESETS = {
    'sparsevit': _swin_preset(SWIN_T, (672, 672), 1),
    'sparseformer': Preset(
        (
            # Padding of small maps changes nothing at 224x224, and makes smaller images possible.
            Run(
                'mmpretrain Swin-T',
                dict(type='mmpretrain.SwinTransformer', arch='tiny', pad_small_map=True),
                (224, 224),
            ),
            Run('SparseFormer-T', dict(type='SparseFormer', arch='tiny'), (224, 224)),
        ),
        16,
    ),
    'swin-l': _swin_preset(SWIN_L, (1024, 2048), 1, MIDDLE_L),
    'cameras': _swin_preset(SWIN_T, (256, 704), 6),
}
