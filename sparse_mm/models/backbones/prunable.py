"""The pruning ratios of a backbone: set, saved with the weights, overridden for an iteration."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from sparse_mm.models.ratios import RatioSpec, StageRatios, parse_ratios

# Key of the setting in a ``state_dict``, and the key before release 0.2.
KEY = 'saved_ratios'
FORMER_KEY = 'ratio_fractions'


class PrunableBackbone(BaseModule):
    """A backbone whose blocks leave out a share of their windows.

    The setting is a buffer of exact fractions, always present in ``state_dict()``, so checkpoints,
    averaged copies (EMA) and other code that compares ``state_dict``s contain it. Ratios set by
    :meth:`override_ratios` for some iterations are never saved. A backbone built without ratios
    uses those of a checkpoint; one built with ratios keeps its own.
    """

    saved_ratios: Tensor
    depths: tuple[int, ...]

    def init_ratios(self, pruning_ratios: RatioSpec) -> None:
        """Creates the buffer; call it once, at the end of the constructor.

        Args:
            pruning_ratios: See :data:`~sparse_mm.models.ratios.RatioSpec`; None for dense, or for
                those of a checkpoint that is loaded later.
        """
        self.keeps_own_ratios = pruning_ratios is not None
        self._ratios = parse_ratios(pruning_ratios, self.depths)
        self._override: StageRatios | None = None
        # Integers, so that no cast of the model to half precision turns 0.8 into 0.7998.
        self.register_buffer(KEY, torch.tensor(_fractions(self._ratios), dtype=torch.int64))

    @property
    def pruning_ratios(self) -> list[list[float]]:
        """The ratio of every block in the next pass, stage by stage."""
        return [[float(ratio) for ratio in stage] for stage in self.ratios_in_force()]

    def set_pruning_ratios(self, pruning_ratios: RatioSpec) -> None:
        """Changes the ratios of all blocks, from the next forward pass on.

        Args:
            pruning_ratios: As in the constructor.

        Raises:
            BadInputError: They do not fit the backbone.
        """
        self._override = None
        ratios = parse_ratios(pruning_ratios, self.depths)
        if ratios == self.ratios_in_force():
            return
        self._ratios = ratios
        with torch.no_grad():
            # Without waiting for a GPU: the source is copied before this returns.
            self.saved_ratios.copy_(torch.tensor(_fractions(ratios)), non_blocking=True)

    def override_ratios(self, pruning_ratios: RatioSpec) -> None:
        """Uses other ratios in the next passes, without saving them.

        Args:
            pruning_ratios: As in the constructor, but None ends the override.

        Raises:
            BadInputError: They do not fit the backbone.
        """
        if pruning_ratios is None:
            self._override = None
        else:
            self._override = parse_ratios(pruning_ratios, self.depths)

    def ratios_in_force(self) -> StageRatios:
        """The exact ratio of every block in the next pass."""
        if self._override is not None:
            return self._override
        # Averaged copies are kept in step by writing to their buffers; on a CPU that is seen
        # here. On a GPU reading them would wait for the device, so there only
        # `set_pruning_ratios` and loading a `state_dict` change the ratios.
        capturing = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if self.saved_ratios.device.type == 'cpu' and not capturing:
            self._read_buffer()
        return self._ratios

    def _read_buffer(self) -> None:
        pairs = self.saved_ratios.tolist()
        # Invalid fractions are uninitialised memory, which is still to be filled.
        if pairs != _fractions(self._ratios) and all(0 <= n < d for n, d in pairs):
            ratios = iter(Fraction(n, d) for n, d in pairs)
            self._ratios = tuple(tuple(islice(ratios, depth)) for depth in self.depths)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        name, former = prefix + KEY, prefix + FORMER_KEY
        if former in state_dict:
            state_dict.setdefault(name, state_dict[former])
            del state_dict[former]
        if name not in state_dict or self.keeps_own_ratios:
            # A Swin checkpoint has no ratios, and ratios of the config take precedence.
            state_dict[name] = self.saved_ratios
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if not self.saved_ratios.is_meta:
            self._read_buffer()


def _fractions(ratios: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    return [[ratio.numerator, ratio.denominator] for stage in ratios for ratio in stage]
