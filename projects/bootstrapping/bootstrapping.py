"""The training of a sparse student by a frozen teacher, without labels."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from projects.bootstrapping.vision_transformer import inherit
from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import weights_of

# A classifier's own names for its last layer, ours first, then timm's.
HEADS = 'head.fc.', 'head.'


@MODELS.register_module()
class Bootstrapping(ImageClassifier):
    """A SparseFormer that learns to give what a frozen Vision Transformer gives.

    Source of the method: Bootstrapping SparseFormers from Vision Foundation Models (Gao et al.,
    CVPR 2024, https://arxiv.org/abs/2312.01987). The student inherits the last two thirds of the
    teacher's blocks. The second half of these, the last third of the teacher, and the norm stay
    frozen, the first half is tuned, and what samples the image is learnt. The loss is one minus
    the cosine between both class tokens; labels are not used. The head is the teacher's, frozen, so
    the student is tested as a classifier from the first step on.

    Its checkpoints hold the student alone, and fit an ``ImageClassifier`` with its backbone and
    head.

    Args:
        backbone: The student, a ``BootstrappedSparseFormer``.
        teacher: The teacher, a ``TeacherViT`` with its checkpoint as ``init_cfg``.
        head: Classification head; the checkpoint's classifier is put into it if it has one.
            Defaults to None, for a teacher without one.
        data_preprocessor: As for ``ImageClassifier``. Defaults to None.
        train_cfg: As for ``ImageClassifier``. Defaults to None.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        teacher: dict,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            backbone,
            head=head,
            data_preprocessor=data_preprocessor,
            train_cfg=train_cfg,
            init_cfg=init_cfg,
        )
        self.teacher = MODELS.build(teacher).requires_grad_(False)
        self.register_state_dict_post_hook(_without_teacher)
        blocks = self.backbone.blocks
        for frozen in (blocks[len(blocks) // 2 :], self.backbone.norm):
            frozen.requires_grad_(False)
        if self.head is not None:
            self.head.requires_grad_(False)

    def init_weights(self) -> None:
        """Loads the teacher; the student inherits from it, and starts from scratch elsewhere.

        Raises:
            BadInputError: The teacher names no checkpoint, or does not fit the student.
        """
        checkpoint = (self.teacher.init_cfg or {}).get('checkpoint')
        if not checkpoint:
            raise BadInputError(
                "The teacher needs its weights: model.teacher.init_cfg=dict(type='Pretrained', "
                'checkpoint=…).'
            )
        self.backbone.init_weights()
        self.teacher.init_weights()
        inherit(self.backbone, self.teacher)
        if self.head is not None:
            self._inherit_head(checkpoint)

    def _inherit_head(self, checkpoint: str) -> None:
        weights = weights_of(read_checkpoint(checkpoint), checkpoint)
        fc: nn.Linear = self.head.fc
        for prefix in HEADS:
            found = {key: weights.get(f'{prefix}{key}') for key in fc.state_dict()}
            if all(value is not None for value in found.values()):
                if found['weight'].shape != fc.weight.shape:
                    raise BadInputError(
                        f'The classifier of {checkpoint!r} is one of {tuple(found["weight"].shape)}'
                        f', the head one of {tuple(fc.weight.shape)}; set head.num_classes to fit.'
                    )
                fc.load_state_dict(found)
                return
        raise BadInputError(
            f'{checkpoint!r} has no classifier (head.fc or head) for this head; set head=None, '
            'and give the tests a head of your own.'
        )

    def train(self, mode: bool = True) -> 'Bootstrapping':
        """Sets the mode of the student; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(self, inputs: Tensor, data_samples: Any = None) -> dict[str, Tensor]:
        """One minus the cosine between the class tokens of student and teacher.

        Args:
            inputs: ``(B, 3, H, W)``.
            data_samples: Not used.
        """
        with torch.no_grad():
            (target,) = self.teacher(inputs)  # (B, C)
        (found,) = self.backbone(inputs)  # (B, C)
        return dict(loss=1 - F.cosine_similarity(found.float(), target.float()).mean())


def _without_teacher(
    model: nn.Module, state: dict[str, Tensor], prefix: str, local_metadata: dict
) -> None:
    """Keeps the frozen teacher out of checkpoints."""
    for name in [name for name in state if name.startswith(f'{prefix}teacher.')]:
        del state[name]
