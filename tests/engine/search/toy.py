"""A task that takes a second: a tiny SparseViT on a few random images, with MMEngine's runner."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn

from sparse_mm.models import SparseViT


@MODELS.register_module()
class ToyClassifier(BaseModel):
    """Has batch normalisation and dropout, so that changes of their state are noticed."""

    def __init__(self, pruning_ratios=None) -> None:
        super().__init__(data_preprocessor=dict(type='BaseDataPreprocessor'))
        self.inner = nn.ModuleDict(
            dict(
                body=SparseViT(
                    embed_dims=8,
                    depths=(2, 4),
                    num_heads=(1, 2),
                    strides=(4, 2),
                    window_size=4,
                    out_indices=(1,),
                    drop_path_rate=0.1,
                    pruning_ratios=pruning_ratios,
                )
            )
        )
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, 4)

    def forward(self, inputs: torch.Tensor, label: torch.Tensor, mode: str) -> Any:
        (x,) = self.inner['body'](inputs)
        logits = self.head(self.drop(self.norm(x.mean((2, 3)))))
        if mode == 'loss':
            return dict(loss=F.cross_entropy(logits, label))
        return [dict(logit=row, label=own) for row, own in zip(logits, label, strict=True)]


@DATASETS.register_module()
class ToyPictures(BaseDataset):
    METAINFO = dict(classes=('a', 'b', 'c', 'd'))  # noqa: RUF012

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images, self.seed = num_images, seed
        super().__init__(pipeline=[])

    def load_data_list(self) -> list[dict]:
        generator = torch.Generator().manual_seed(self.seed)
        data = []
        for i in range(self.num_images):
            image = torch.randn(3, 48, 48, generator=generator) / 2
            image[i % 3, :: 1 + i % 4] += 1
            data.append(dict(inputs=image.numpy(), label=i % 4))
        return data

    def prepare_data(self, idx: int) -> dict:
        info = self.get_data_info(idx)
        image = torch.from_numpy(info['inputs'])
        if not self.test_mode and self.seed == 0:  # augmentation: shows the data's random numbers
            image = image + torch.randn(()) / 10
        return dict(inputs=image, label=info['label'])


@METRICS.register_module()
class ToyLogLikelihood(BaseMetric):
    default_prefix = 'toy'
    is_mean = True

    def process(self, data_batch: Any, data_samples: Any) -> None:
        for sample in data_samples:
            log = sample['logit'].log_softmax(0)[sample['label']]
            self.results.append(float(log))

    def compute_metrics(self, results: list) -> dict:
        return dict(likelihood=sum(results) / len(results), images=len(results))


def write_toy(folder: Path) -> Any:
    """Writes the task's config and random weights, whose score pruning changes; gives the model."""
    torch.manual_seed(3)
    cfg = toy_config()
    model = MODELS.build(cfg['model']).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) / 5
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    Config(cfg).dump(folder / 'toy.py')
    return model


def toy_config(**search: Any) -> dict:
    """Six epochs: two dense, two adapt, two finetune."""
    settings = dict(
        type='SparsitySearchHook',
        at=4,
        budget='macs=0.7',
        metric='toy/likelihood',
        evaluations=12,
        population=5,
        parents=2,
        num_images=6,
        finalists=2,
        latency_seconds=0.5,
        image_size=(48, 48),
    )
    settings.update(search)
    loader = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type='default_collate'))
    train = dict(type='ToyPictures', num_images=16, seed=0)
    val = dict(type='ToyPictures', num_images=10, seed=1)
    ordered = dict(type='DefaultSampler', shuffle=False)
    return dict(
        custom_imports=dict(imports=['sparse_mm', 'tests.engine.search.toy']),
        model=dict(type='ToyClassifier'),
        train_dataloader=dict(
            batch_size=4,
            dataset=train,
            sampler=dict(type='DefaultSampler', shuffle=True),
            **loader,
        ),
        val_dataloader=dict(batch_size=4, dataset=val, sampler=ordered, **loader),
        val_evaluator=dict(type='ToyLogLikelihood'),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=6, val_interval=2),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=3e-3)),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=6)],
        custom_hooks=[
            dict(type='SparsityAdaptationHook', begin=2, end=4),
            dict(type='EMAHook'),
            settings,
        ],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, save_best='toy/likelihood', rule='greater'
            ),
            logger=dict(type='LoggerHook', interval=1),
        ),
        randomness=dict(seed=0),
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
    )


def toy_runner(work_dir: Any, **search: Any) -> Runner:
    """A runner of the configuration, as our tools build it."""
    from mmengine.config import Config

    from sparse_mm.engine.command_line import build_runner

    cfg = Config(toy_config(**search))
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    cfg.experiment_name = f'toy_{abs(hash(str(work_dir)))}'
    cfg.log_level = 'WARNING'
    return build_runner(cfg)
