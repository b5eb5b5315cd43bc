"""The comparison on small objects: the runs that it starts, and the table."""

import json
import sys
from itertools import pairwise

import pytest
import torch
from mmengine.config import Config

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from tests.conftest import ROOT
from tools.benchmarks import small_objects, small_objects_runs
from tools.benchmarks.rankings import RANKINGS, RankedSparseViT
from tools.benchmarks.small_objects_report import relative_latencies, resized

SCORES = dict(dense=0.6, half=0.5, narrow=0.55)
WINNER = [[0.5], [0.4], [0.3, 0.5, 0.7], [0.0]]
UNIFORM = [[0.5], [0.5], [0.5, 0.5, 0.5], [0.5]]


@pytest.fixture
def show(tmp_path, monkeypatch, capsys):
    """Runs it with substitutes for the long runs; returns the commands and the output."""

    def run(*options, fails_at=None, scores=SCORES):
        started = []

        def call(log, jobs, tool, *arguments):
            given = [str(argument) for argument in arguments]
            name = log.stem
            if name == fails_at:
                raise BadInputError('stopped')
            started.append((name, given))
            work_dir = tmp_path / dict(pairwise(given))['--work-dir']
            folder = work_dir / '1' / 'vis_data'
            # As train.py does: it goes on, or refuses to.
            if tool == 'train.py' and '--resume' not in given:
                assert not list(work_dir.glob('*.pth'))
            folder.mkdir(parents=True, exist_ok=True)
            row = {'coco/bbox_mAP': scores.get(name, 0.4), 'coco/segm_mAP': 0.3}
            (folder / 'scalars.json').write_text('{"loss": 1.0}\n' + json.dumps(row) + '\n')
            if tool == 'test.py':
                row['coco/bbox_mAP'] = scores[name.removeprefix('test_')]
                (folder.parent / '1.json').write_text(json.dumps(row))
            (folder.parent.parent / 'epoch_8.pth').write_bytes(b'weights')
            if name == 'searches':
                metrics = [{'coco/bbox_mAP': value} for value in (0.58, 0.60)]
                lower = [{'coco/bbox_mAP': value} for value in (0.48, 0.50)]
                rows = [
                    dict(
                        budget=budget,
                        method=method,
                        ratios=[ratios],
                        metrics=lower if method == 'uniform' else metrics,
                    )
                    for budget, method, ratios in (
                        *(('', 'dense', 0), ('a', 'random', 0), ('b', 'uniform', UNIFORM)),
                        *(('b', 'random', 0), ('b', 'surrogate', WINNER), ('c', 'random', 0)),
                    )
                ]
                (folder.parent.parent / 'comparison.json').write_text(json.dumps(rows))
                (folder.parent.parent / 'comparison.md').write_text('the table of searches')

        monkeypatch.setattr(small_objects_runs, 'call', call)
        monkeypatch.setattr(
            small_objects, 'relative_latencies', lambda models, seconds: [0.5] * len(models)
        )
        arguments = ['small_objects.py', '--work-dir', str(tmp_path), *options]
        monkeypatch.setattr(sys, 'argv', arguments)
        capsys.readouterr()
        small_objects.main()
        return started, capsys.readouterr().out

    return run


def test_everything_once_and_a_table(show, tmp_path):
    started, printed = show()
    names = [name for name, _ in started]
    assert names[:6] == ['dense', 'test_dense', 'half', 'test_half', 'narrow', 'test_narrow']
    assert names[6:10] == ['adapt', 'size_896', 'size_896_0', 'size_896_1']
    assert names[16] == 'searches'
    assert set(names[17:]) == {
        f'{setting}{claim}_{seed}'
        for setting in ('', 'uniform_')
        for claim in ('unadapted', *RANKINGS[1:])
        for seed in (0, 1)
    }
    options = dict(started)
    assert 'custom_hooks=[]' in options['size_616']
    assert 'train_dataloader.dataset.pipeline.2.scale=(308,308)' in options['size_616']
    assert f'load_from={tmp_path}/size_616/epoch_1.pth' in options['size_616_1']
    assert '--resume' in options['dense']
    assert f'load_from={tmp_path}/dense/epoch_8.pth' in options['unadapted_0']
    assert 'model.backbone.ranking=random' in options['random_1']
    assert f'load_from={tmp_path}/adapt/epoch_1.pth' in options['random_1']
    ranked = Config.fromfile(options['random_1'][0])
    assert 'tools.benchmarks.rankings' in ranked.custom_imports.imports
    assert ranked.optim_wrapper.optimizer.lr == 5e-4  # with the settings of the others' finetuning
    assert f'model.backbone.pruning_ratios={tmp_path}/claims.json' in options['random_1']
    assert json.loads((tmp_path / 'claims.json').read_text()) == WINNER
    assert json.loads((tmp_path / 'uniform_claims.json').read_text()) == UNIFORM
    assert 'minutes left' in printed
    for part in (
        'Dense after each epoch: 0.600',
        '| dense, half the resolution | 0.500 | 0.300 | 0.500 |',
        '| dense, trained further at 616×616 | 0.400 ± 0.000 | 0.300 ± 0.000 | 0.500 |',
        'the table of searches',
        '| box mAP, finetuned | the first winner | uniform ratios |',
        '| adapted, one ranking a stage by L2 | 0.590 ± 0.014 | 0.490 ± 0.014 |',
        '| not adapted | 0.400 ± 0.000 | 0.400 ± 0.000 |',
    ):
        assert part in printed
    assert show()[0] == []  # all is done
    assert [name for name, _ in show('--strategies', 'surrogate', '--seeds', '0')[0]] == [
        'searches'
    ]
    with pytest.raises(BadInputError, match='runs with other settings'):
        show('--epochs', '9')


def test_it_continues_where_it_was(show):
    with pytest.raises(BadInputError, match='stopped'):
        show(fails_at='narrow')
    started, _ = show('--until', 'dense')
    assert [name for name, _ in started] == ['narrow', 'test_narrow']


def test_without_uniform_ratios_nothing_can_be_compared(show, tmp_path):
    show()
    path = tmp_path / 'searches' / 'comparison.json'
    path.write_text(
        json.dumps([row for row in json.loads(path.read_text()) if row['method'] == 'random'])
    )
    with pytest.raises(BadInputError, match='No uniform ratios are within a budget'):
        show()


def test_a_task_that_needs_no_resolution_ends_it(show):
    for _ in range(2):  # also when both are trained
        with pytest.raises(BadInputError, match=r'0\.600, and 0\.580 at half the resolution'):
            show(scores=dict(SCORES, half=0.58))


def test_a_detector_at_another_size():
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_small_shapes_finetune.py')
    cfg.merge_from_dict(resized(cfg, 448))
    for split, side in (('train', 224), ('val', 448), ('test', 448)):
        (resize,) = [
            t for t in cfg[f'{split}_dataloader'].dataset.pipeline if t['type'] == 'Resize'
        ]
        assert tuple(resize['scale']) == (side, side)
    half = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_small_shapes_half.py')
    anchors = cfg.model.rpn_head.anchor_generator
    with pytest.raises(BadInputError, match='choose configs of a detector with an RPN'):
        resized(Config(dict(model=dict(type='FCOS'))), 448)
    assert anchors.scales == half.model.rpn_head.anchor_generator.scales
    assert anchors.strides == half.model.rpn_head.anchor_generator.strides


def test_latencies_are_shares_of_the_first():
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_small_shapes_narrow.py')
    found = relative_latencies([(cfg, 224), (cfg, 112)], seconds=0.1)
    assert found[0] == 1
    assert len(found) == 2
    assert all(value > 0 for value in found)


@pytest.fixture(scope='module')
def plain():
    torch.manual_seed(0)
    return SparseViT(**SETTINGS).eval()


SETTINGS = dict(
    embed_dims=8,
    depths=(2, 4),
    num_heads=(1, 2),
    strides=(4, 2),
    window_size=4,
    out_indices=(1,),
    pruning_ratios=[[0.5], [0.25, 0.5]],
)


@pytest.mark.parametrize('ranking', RANKINGS)
def test_other_rankings_keep_as_many_other_windows(plain, ranking):
    model = RankedSparseViT(**SETTINGS, ranking=ranking).eval()
    model.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64) * torch.linspace(0.1, 3, 64)
    with torch.no_grad():
        (expected,), (found,) = plain(images), model(images)
        assert found.shape == expected.shape
        assert torch.isfinite(found).all()
        assert torch.allclose(found, expected, atol=1e-5) == (ranking == 'l2')
        model.set_pruning_ratios(None)
        plain_dense = SparseViT(**{**SETTINGS, 'pruning_ratios': None}).eval()
        plain_dense.load_state_dict(model.state_dict())
        assert torch.allclose(model(images)[0], plain_dense(images)[0], atol=1e-5)


def test_an_unknown_ranking_is_refused():
    with pytest.raises(BadInputError, match='ranking is one of l2, random'):
        RankedSparseViT(**SETTINGS, ranking='best')


def test_settings_of_later_runs_are_added(show):
    show('--until', 'dense', '--evaluations', '40')  # which do not matter yet
    show('--evaluations', '60')
    with pytest.raises(BadInputError, match='runs with other settings'):
        show('--evaluations', '80')


def test_another_winner_is_finetuned_anew(show, tmp_path):
    show()
    path = tmp_path / 'searches' / 'comparison.json'
    path.write_text(path.read_text().replace(json.dumps(WINNER), json.dumps(UNIFORM)))
    names = [name for name, _ in show()[0]]
    assert set(names) == {f'{c}_{s}' for c in ('unadapted', *RANKINGS[1:]) for s in (0, 1)}
