"""A backbone whose passes run in a deployment engine."""

import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.deploy.engine import FLOAT32, Graph, Pass
from sparse_mm.deploy.engines import check_engine
from sparse_mm.deploy.export import OPSET, compare, random_images, write_onnx
from sparse_mm.deploy.graph_cache import GIB, GraphCache
from sparse_mm.deploy.sizes import SizeCount, check_maps, crop, graph_size, pad, read_grid
from sparse_mm.deploy.structure import flat_outputs, kind_of, output_names, restore
from sparse_mm.deploy.weights import WeightsWatch, digest_of_weights
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.named_weights import first_few, mismatches
from sparse_mm.progress import progress_bar

# In bfloat16 a graph is wrong if its outputs are unrelated to PyTorch's in float32.
UNLIKE = 0.5
EXPORTERS = 'torch', 'onnx', 'onnxscript', 'onnx_ir'


@MODELS.register_module()
class DeployedBackbone(BaseModule):
    """Computes a backbone on an engine; for inference.

    It has the backbone's weights under the backbone's own names, so checkpoints load as into the
    backbone, and all other attributes are the backbone's: ``set_pruning_ratios``,
    ``out_indices``. A graph is exported when images of a new size arrive, for the current weights
    and ratios; other weights or ratios need another graph. Exported files are kept on disk. Each
    new graph is compared with PyTorch before it is used.

    Args:
        backbone: Its config, or the backbone itself: one of ours, or any that takes images and
            returns a tensor, or a tuple or list of them.
        engine: ``'torch'``, ``'compile'``, ``'graph'``, ``'onnxruntime'`` or ``'openvino'``.
            Defaults to 'torch'.
        precision: ``'float32'`` or ``'bfloat16'``. Defaults to 'float32'.
        sizes: Sizes of graphs ``[(H, W), …]``, to the smallest of which that holds them images are
            padded; or a number, to a multiple of which they are. Padding is computed as the hosts'
            own is, so outputs near the right and lower edge are not quite those of the image alone.
            Defaults to None: each size has its graph.
        cache_dir: Folder of the exported files. Defaults to None: ``$SPARSE_MM_CACHE``, or
            ``~/.cache/sparse_mm``.
        cache_gib: How much they may take together. Defaults to 4.
        max_graphs: How many graphs it holds in memory, each with the weights once more. Defaults to
            8.
        init_cfg: Of MMEngine; the backbone has its own.

    Raises:
        BadInputError: The engine is not here, or it does not compute in this precision.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        engine: str = 'torch',
        precision: str = FLOAT32,
        sizes: int | Sequence[Sequence[int]] | None = None,
        cache_dir: str | None = None,
        cache_gib: float = 4.0,
        max_graphs: int = 8,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.engine = check_engine(engine, precision)
        self.precision = precision
        self.grid = read_grid(sizes)
        if cache_gib <= 0 or max_graphs < 1:
            raise BadInputError(
                'cache_gib must be above 0 and max_graphs at least 1; they are '
                f'{cache_gib} and {max_graphs}.'
            )
        self.max_graphs = max_graphs
        self.cache = GraphCache(cache_dir, int(cache_gib * GIB))
        built = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        if isinstance(built, DeployedBackbone):
            raise BadInputError('A DeployedBackbone cannot be deployed again; name its backbone.')
        self.backbone = built
        self._watch = WeightsWatch()
        self._digest = ''
        self._passes: OrderedDict[tuple, tuple[Pass, str]] = OrderedDict()
        self._sizes = SizeCount()
        self._register_state_dict_hook(_without_prefix)

    def forward(self, images: Tensor) -> Any:
        """Computes what the backbone computes.

        Args:
            images: ``(B, C, H, W)``.

        Returns:
            What the backbone returns, in the images' dtype.

        Raises:
            BadInputError: The model is in training mode, the engine does not compute on the images'
                device, the images are too small, or the graph cannot be made.
        """
        if self.training:
            raise BadInputError(
                'A DeployedBackbone computes without gradients, for inference: call model.eval(), '
                'or train with the backbone itself.'
            )
        if self.engine.name == 'torch' and self.precision == FLOAT32 and self.grid is None:
            return self.backbone(images)
        if images.device.type not in self.engine.devices:
            raise BadInputError(
                f'engine={self.engine.name!r} computes on a '
                f'{" or ".join(self.engine.devices).upper()}, and the images are on '
                f'{images.device}; move the model there, or choose another engine.'
            )
        if images.dim() != 4:
            raise BadInputError(
                f'engine={self.engine.name!r} computes images of (B, C, H, W), not '
                f'{tuple(images.shape)}; use the backbone itself for clips.'
            )
        size = images.shape[-2], images.shape[-1]
        padded = pad(images.detach().float(), graph_size(size, self.grid)).contiguous()
        run, kind = self._pass_for(padded)
        outputs = crop(run(padded), (padded.shape[-2], padded.shape[-1]), size)
        return restore([out.to(images.dtype) for out in outputs], kind)

    def prepare(self, image_size: tuple[int, int], batch: int = 1) -> None:
        """Exports the graph of a size now, instead of in the first pass.

        Args:
            image_size: ``(H, W)``.
            batch: Images.
        """
        channels = next((m.in_channels for m in self.modules() if isinstance(m, nn.Conv2d)), 3)
        device = next(self.parameters()).device
        size = graph_size(image_size, self.grid)
        self._pass_for(torch.zeros(batch, channels, *size, device=device))

    def train(self, mode: bool = True) -> 'DeployedBackbone':
        """Sets the mode; in training mode nothing can be computed."""
        super().train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__('backbone'), name)

    def __getstate__(self) -> dict[str, Any]:
        # Engines' graphs can be neither copied nor pickled; a copy makes its own.
        return {**self.__dict__, '_passes': OrderedDict(), '_watch': WeightsWatch()}

    def _pass_for(self, images: Tensor) -> tuple[Pass, str]:
        """The pass that computes images of this shape, with weights and ratios as they are now."""
        if self._watch.changed(self.backbone):
            self._digest = digest_of_weights(self.backbone)
        shape = tuple(images.shape) if self.engine.fixed_size else ()
        key = self._digest, str(self._ratios()), shape, str(images.device), torch.get_num_threads()
        if key not in self._passes:
            with torch.inference_mode(False), torch.no_grad():
                self._passes[key] = self._make(images)
            while len(self._passes) > self.max_graphs:
                self._passes.popitem(last=False)
        self._passes.move_to_end(key)
        return self._passes[key]

    def _make(self, like: Tensor) -> tuple[Pass, str]:
        batch, channels, height, width = like.shape
        images = random_images(batch, (height, width), channels).to(like.device)
        if self.grid is None and self.engine.fixed_size:
            self._sizes.note((height, width))
        backbone = self._copy()
        what = f'Making the {self.engine.name} graph of {batch} x {height} x {width}'
        quiet = self.engine.name == 'torch'
        with (
            progress_bar(what, total=3, quiet=quiet) as bar,
            torch.autocast(like.device.type, enabled=False),
        ):
            outputs = backbone(images)  # refuses sizes that it cannot compute
            kind, expected = kind_of(outputs), flat_outputs(outputs)
            if self.grid is not None:
                check_maps(expected)
            bar.update()
            if isinstance(backbone, SwinBackbone) and self.engine.fixed_size:
                backbone.fix_image_size((height, width))
            names = output_names(backbone, len(expected))
            onnx = partial(self._exported, backbone, images, names)
            run = self._prepare(Graph(backbone, images, self.precision, onnx))
            bar.update()
            self._check(run, images, expected, names)
            bar.update()
        return run, kind

    def _prepare(self, graph: Graph) -> Pass:
        try:
            return self.engine.prepare(graph)
        except (BadInputError, MemoryError):
            raise
        except Exception as error:  # exporters and engines have dozens of kinds
            lines = str(error).strip().splitlines() or [type(error).__name__]
            shape = ' x '.join(map(str, graph.images.shape))
            raise BadInputError(
                f'No {self.engine.name} graph can be made of this {type(graph.backbone).__name__} '
                f'for images of {shape} ({lines[0]}); try larger images, or another engine.'
            ) from error

    def _check(
        self, run: Pass, images: Tensor, expected: Sequence[Tensor], names: Sequence[str]
    ) -> None:
        """Compares a new graph with PyTorch.

        Raises:
            BadInputError: They differ.
        """
        found = run(images)
        if self.precision == FLOAT32:
            try:
                compare(found, expected, names)
            except BadInputError:
                # Two windows can be so equally important that the order of summation decides which
                # of them is kept. This is unlikely for several images.
                if not any(self._agrees(run, images, names, seed) for seed in (1, 2)):
                    raise
            return
        for name, ours, theirs in zip(names, found, expected, strict=True):
            error = float((ours.float() - theirs).norm() / theirs.norm().clamp(min=1e-12))
            if not error <= UNLIKE:
                raise BadInputError(
                    f"The {self.engine.name} graph's {name} in {self.precision} differs from "
                    f"PyTorch's in float32 by {error:.2g} of its norm; use float32."
                )

    def _agrees(self, run: Pass, like: Tensor, names: Sequence[str], seed: int) -> bool:
        batch, channels, height, width = like.shape
        images = random_images(batch, (height, width), channels, seed).to(like.device)
        try:
            compare(run(images), flat_outputs(self._copy()(images)), names)
        except BadInputError:
            return False
        return True

    def _copy(self) -> Any:
        """The backbone as it is now, for an engine to change."""
        ratios = self._ratios()
        backbone: Any = deepcopy(self.backbone).float()
        backbone.eval()  # mmdet's backbones return nothing from it
        backbone.requires_grad_(False)
        if ratios is not None:
            backbone.set_pruning_ratios([[float(ratio) for ratio in stage] for stage in ratios])
        return backbone

    def _ratios(self) -> Any:
        in_force: Any = getattr(self.backbone, 'ratios_in_force', None)
        return None if in_force is None else in_force()

    def _exported(self, backbone: nn.Module, images: Tensor, names: Sequence[str]) -> Path:
        """The exported file, from the cache or made."""
        meta = dict(backbone=type(backbone).__name__, pruning_ratios=str(self._ratios()))
        # Code of others may fix the number of images.
        free_batch = type(backbone).__module__.startswith('sparse_mm.')
        shape = [None if free_batch else len(images), *images.shape[1:]]
        follows_from = dict(
            meta,
            weights=self._digest,
            shape=shape,
            code=_code_of(tuple(sorted({type(m).__module__ for m in backbone.modules()}))),
            structure=[f'{n} {type(m).__name__} {m.extra_repr()}' for n, m in _named(backbone)],
            versions={name: _version(name) for name in EXPORTERS},
            opset=OPSET,
        )
        key = hashlib.sha256(json.dumps(follows_from).encode()).hexdigest()[:32]
        size = sum(p.numel() * p.element_size() for p in backbone.parameters())

        def make(path: Path) -> dict[str, Any]:
            write_onnx(backbone, images, path, meta, names, free_batch)
            return dict(meta, shape=shape, versions=follows_from['versions'])

        return self.cache.find_or_make(key, size, make)[0]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        own = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
        given = {name.removeprefix(prefix): value for name, value in own.items()}
        if given:
            self._check_weights(given)
        for name in own:
            state_dict[f'{prefix}backbone.{name.removeprefix(prefix)}'] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _check_weights(self, weights: Mapping[str, Any]) -> None:
        """Refuses weights of another model: half of them would stay random.

        Raises:
            BadInputError: They do not fit, or some are missing.
        """
        wrong = mismatches(weights, self.backbone.state_dict())
        missing = [name for name, _ in self.backbone.named_parameters() if name not in weights]
        if wrong or missing:
            fault = f'their shapes differ: {first_few(wrong)}' if wrong else ''
            lacking = f'they lack {first_few(missing)}' if missing else ''
            raise BadInputError(
                f'The weights are of another model than this {type(self.backbone).__name__}: '
                f'{fault or lacking}; name the config that they were trained with.'
            )


def _without_prefix(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any
) -> None:
    """Gives the weights the names that they have in the backbone."""
    inner = f'{prefix}backbone.'
    for name in [name for name in state_dict if name.startswith(inner)]:
        state_dict[prefix + name.removeprefix(inner)] = state_dict.pop(name)


def _named(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(module.named_modules())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'none'


@lru_cache(maxsize=16)
def _code_of(modules: tuple[str, ...]) -> str:
    """A digest of the source files of a backbone's classes, and of ours that it is built of."""
    paths = {getattr(sys.modules.get(name), '__file__', None) for name in modules}
    ours = Path(__file__).resolve().parents[1]
    files = {Path(path) for path in paths if path}
    graphs = ours / 'deploy' / 'export.py', ours / 'deploy' / 'operators.py'
    files |= {*ours.glob('models/**/*.py'), *graphs}
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
