"""The loss on validation images as a search's score."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

from sparse_mm.engine.command_line import build_runner
from sparse_mm.engine.inspection import find_backbone
from sparse_mm.engine.search.losses import LossEvaluator
from sparse_mm.engine.search.scorer import CandidateScorer
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT, require_configs_of
from tests.engine.search.toy import toy_runner

BACKBONE = dict(
    type='SparseViT',
    embed_dims=16,
    depths=(2, 2),
    num_heads=(1, 2),
    strides=(4, 2),
    window_size=7,
    out_indices=(1,),
)


def test_it_is_the_models_own_whatever_the_batches(tmp_path):
    runner = toy_runner(tmp_path)
    ratios = ((0.5,), (0.0, 0.5))
    likelihood = CandidateScorer(runner, 'toy/likelihood', 'greater', 0).score(ratios, 6)
    scorer = CandidateScorer(runner, 'loss', 'less', 0)
    scorer.check(6)
    found = scorer.score(ratios, 6)
    assert found.value == pytest.approx(likelihood.value, rel=1e-5)
    assert found.by_images
    assert scorer.score(ratios, 6) == found
    other = CandidateScorer(runner, 'loss', 'less', 0)
    other.loader = torch.utils.data.DataLoader(
        scorer.dataset, batch_size=3, collate_fn=scorer.loader.collate_fn
    )
    assert other.score(ratios, 6) == found
    assert scorer.score(((0.0,), (0.0, 0.0)), 6).value != found.value


class Drawing(BaseModel):
    """A model with a random loss, like detectors that sample boxes."""

    def forward(self, inputs, mode):
        assert mode == 'loss'
        return dict(loss=inputs.sum() * 0 + torch.rand(()))


def test_images_draw_the_same_numbers_for_every_candidate():
    model, images = Drawing(), torch.zeros(3, 1)
    evaluator = LossEvaluator([], seed=7)

    def losses(*batches):
        for batch in batches:
            evaluator.judge(model, dict(inputs=batch))
        found = list(evaluator.losses)
        evaluator.clear()
        torch.rand(5)  # what happens in between
        return found

    first = losses(images)
    assert losses(images[:2], images[2:]) == first
    assert len(set(first)) == 3


def test_more_of_it_is_never_better():
    settings = SearchSettings.build(budget='macs=0.7', metric='loss', evaluations=4)
    assert settings.rule == 'less'
    assert settings.score_name == 'negative loss'


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A runner of the shapes' detector on scenes of another size than those that it sees."""
    require_configs_of('mmdet')
    folder = tmp_path_factory.mktemp('run')
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py')
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.update(
            num_images=4,
            size=192,
            ann_file=str(folder / f'{split}.json'),
            data_prefix=dict(img=str(folder / split)),
        )
        resize = next(t for t in loader.dataset.pipeline if t['type'] == 'Resize')
        resize['scale'] = (96, 96)
    cfg.val_evaluator.ann_file = str(folder / 'val.json')
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = None, None, None
    cfg.update(work_dir=str(folder), launcher='none', log_level='WARNING', experiment_name='losses')
    return build_runner(cfg)


def test_a_detectors_boxes_are_moved_with_its_images(detector):
    scorer = CandidateScorer(detector, 'loss', 'less', 0)
    scorer.check(4)
    before, now = detector.val_dataloader.dataset[0], scorer.dataset[0]
    assert torch.equal(before['inputs'], now['inputs'])
    boxes = [sample['data_samples'].gt_instances.bboxes.tensor for sample in (before, now)]
    assert torch.allclose(boxes[0] / 2, boxes[1])  # the metrics need the original annotations
    dense = ((0.0,),) * 4
    found = scorer.score(dense, 4)  # though it draws which proposals to take the loss of
    torch.manual_seed(5)
    assert scorer.score(dense, 4) == found
    assert found.failure == ''


def test_without_annotations_a_sentence_says_so(detector):
    dataset = copy.copy(detector.val_dataloader.dataset)
    dataset.pipeline = copy.copy(dataset.pipeline)
    dataset.pipeline.transforms = [
        t for t in dataset.pipeline.transforms if type(t).__name__ != 'LoadAnnotations'
    ]
    scorer = CandidateScorer(detector, 'loss', 'less', 0)
    scorer.dataset = dataset
    with pytest.raises(BadInputError, match='needs annotations from the validation pipeline'):
        scorer.check(4)


def test_a_segmenters():
    pytest.importorskip('mmseg')
    from mmseg.structures import SegDataSample

    init_default_scope('mmseg')
    head = dict(type='FCNHead', in_channels=32, in_index=0, channels=8, num_classes=3)
    model = MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            data_preprocessor=dict(type='mmseg.SegDataPreProcessor'),
            backbone=BACKBONE,
            decode_head=dict(head, norm_cfg=dict(type='BN'), dropout_ratio=0.1),
            test_cfg=dict(mode='whole'),
        )
    )
    samples = []
    for label in (0, 1):
        sample = SegDataSample(metainfo=dict(img_shape=(56, 56)))
        sample.gt_sem_seg = PixelData(data=torch.full((1, 56, 56), label))
        samples.append(sample)
    _check(model, samples)


def test_a_classifiers():
    pytest.importorskip('mmpretrain')
    from mmpretrain.structures import DataSample

    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', num_classes=3),
            backbone=BACKBONE,
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=32),
            train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
        )
    )
    _check(model, [DataSample().set_gt_label(label) for label in (0, 1)])


def _check(model, samples):
    model.eval()
    assert find_backbone(model)
    images = [torch.randint(0, 255, (3, 56, 56), dtype=torch.uint8) for _ in samples]
    evaluator = LossEvaluator([], seed=0)
    with torch.no_grad():
        for chosen in ([0, 1], [0], [1]):
            batch = dict(
                inputs=[images[i] for i in chosen], data_samples=[samples[i] for i in chosen]
            )
            evaluator.judge(model, batch)
    losses = evaluator.losses
    assert len(losses) == 4
    assert losses[:2] == pytest.approx(losses[2:])
    assert losses[0] != pytest.approx(losses[1])
    with pytest.raises(BadInputError, match='needs annotations'):
        evaluator.judge(model, dict(inputs=images[:1], data_samples=[type(samples[0])()]))
