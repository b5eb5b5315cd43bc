"""The comparison of searches: the runs that it starts, and the table of their results."""

import argparse
import importlib.util
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import LatencyTable
from tests.conftest import ROOT

CONFIGS = ROOT / 'configs'
WINNERS = dict(
    evolution=[[0.6], [0.8], [0.5, 0.8, 0.8], [0.6]],
    random=[[0.7], [0.7], [0.6, 0.7, 0.8], [0.6]],
    surrogate=[[0.6], [0.8], [0.6, 0.7, 0.8], [0.6]],
)


@pytest.fixture
def tool(monkeypatch):
    path = ROOT / 'tools' / 'benchmarks' / 'compare_searches.py'
    spec = importlib.util.spec_from_file_location('compare_searches', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def compare(tool, tmp_path, monkeypatch):
    """Runs it with short substitutes for the long runs; returns the commands and the rows."""

    def run(*options, metrics=('coco/bbox_mAP', 'coco/segm_mAP'), fails=lambda work_dir: False):
        started = []

        def call(log, jobs, name, *arguments):
            options = [str(argument) for argument in arguments]
            after = dict(pairwise(options))
            started.append((name, after))
            if name.endswith('latency_table.py'):
                return
            work_dir = tmp_path / after['--work-dir']
            if name == 'search.py':
                result = work_dir / 'sparsity_search'
                result.mkdir(parents=True)
                best = dict(pruning_ratios=WINNERS[after['--strategy']], score=0.5)
                (result / 'best.json').write_text(json.dumps(best))
                return
            ratios = next(o.split('=')[1] for o in options if o.startswith('model.backbone'))
            pruned = sum(r for stage in json.loads(Path(ratios).read_text()) for r in stage)
            log = work_dir / '1' / 'vis_data' / 'scalars.json'
            assert not list(work_dir.glob('*.pth'))  # which train.py refuses
            log.parent.mkdir(parents=True)
            (work_dir / 'epoch_1.pth').touch()
            if fails(work_dir):
                raise BadInputError('killed')
            found = dict.fromkeys(metrics, 1 - 0.1 * pruned)
            log.write_text('{"loss": 1.0}\n' + json.dumps(found) + '\n')

        def table(comparison):
            pairs = len(comparison.shape.stages)
            path = comparison.folder / 'latency_table.json'
            comparison.folder.mkdir(exist_ok=True)
            stages = [
                dict(
                    dense_ms=0.0,
                    sparse_ms=0.0,
                    pairs=[
                        {stage.kept(r): 100 * (1 - r) / pairs for r in (0.0, *choices)}
                        for _ in range(genes)
                    ],
                )
                for stage, choices, genes in zip(
                    comparison.shape.stages,
                    comparison.space.choices,
                    comparison.space.num_pairs,
                    strict=True,
                )
            ]
            made = LatencyTable(
                image_size=comparison.shape.image_size,
                batch=comparison.shape.batch,
                stem_ms=0.0,
                stages=stages,
                windows=[stage.num_windows for stage in comparison.shape.stages],
                channels=[stage.channels for stage in comparison.shape.stages],
            )
            path.write_text(made.to_json())
            return path

        monkeypatch.setattr(tool, 'call', call)
        monkeypatch.setattr(tool.Comparison, 'table', table)
        monkeypatch.setattr(
            tool,
            'measure_whole',
            lambda backbone, shape, settings, dtype, seconds: [2.0] * len(settings),
        )
        torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'adapted.pth')
        arguments = [
            *('compare_searches.py', CONFIGS / 'sparsevit_maskrcnn_shapes_deep.py'),
            *(CONFIGS / 'sparsevit_maskrcnn_shapes_deep_finetune.py', tmp_path / 'adapted.pth'),
            *('--budget', 'latency=0.33..0.36', '--seeds', 0, 1, '--tune-seeds', 0, 1, 2),
            *('--work-dir', tmp_path / 'comparison', '--jobs', 2, '--evaluations', 40),
            *options,
        ]
        monkeypatch.setattr('sys.argv', [str(argument) for argument in arguments])
        tool.main()
        return started, json.loads((tmp_path / 'comparison' / 'comparison.json').read_text())

    return run


def test_every_search_and_every_winner_once(compare, capsys):
    started, rows = compare()
    searches = [after for name, after in started if name == 'search.py']
    assert sorted((s['--strategy'], s['--seed']) for s in searches) == [
        ('evolution', '0'),
        ('evolution', '1'),
        ('random', '0'),
        ('random', '1'),
    ]
    assert all(s['--budget'] == 'latency=0.33..0.36' for s in searches)
    # Dense, uniform and two winners, which both searches of a strategy found; three seeds each.
    assert len([name for name, _ in started if name == 'train.py']) == 4 * 3
    assert [row['method'] for row in rows] == ['dense', 'uniform', 'random', 'evolution']
    dense, uniform, random, evolution = rows
    # 0.6 would cost 0.367: the least uniform ratio within the budget may be below its range.
    assert uniform['ratios'] == [[[0.7], [0.7], [0.7, 0.7, 0.7], [0.7]]]
    assert evolution['ratios'] == [WINNERS['evolution']] * 2
    assert dense['latency'] == [1.0]
    assert random['metrics'][0]['coco/bbox_mAP'] == pytest.approx(1 - 0.1 * 4.1)
    assert '| 0.33 to 0.36 of the dense latency | evolution | 0.590 ±' in capsys.readouterr().out


def test_only_the_strategies_that_are_named(compare):
    started, rows = compare('--strategies', 'random', 'surrogate')
    searches = [after['--strategy'] for name, after in started if name == 'search.py']
    assert sorted(searches) == ['random'] * 2 + ['surrogate'] * 2
    assert [row['method'] for row in rows] == ['dense', 'uniform', 'random', 'surrogate']
    assert rows[-1]['ratios'] == [WINNERS['surrogate']] * 2


def test_what_is_done_is_not_done_again(compare):
    first = compare()[1]
    started, rows = compare()
    assert started == []
    assert rows == first


def test_a_finetuning_that_was_killed_starts_anew(compare, tmp_path):
    with pytest.raises(BadInputError, match='killed'):
        compare(fails=lambda work_dir: 'tune_60' in work_dir.name)
    rows = compare()[1]
    assert len(rows) == 4
    assert list((tmp_path / 'comparison').glob('tune_60*.former/epoch_1.pth'))


def test_detectors_without_masks(compare, capsys):
    compare(metrics=['coco/bbox_mAP'])
    assert '| budget | method | box mAP | MACs |' in capsys.readouterr().out
    with pytest.raises(BadInputError, match=r"logged no 'coco/bbox_mAP'"):
        compare('--tune-seeds', '3', metrics=['accuracy/top1'])


def test_the_searchs_own_batch_choices_and_limits_count(tool, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        f'_base_ = {str(CONFIGS / "sparsevit_maskrcnn_shapes_deep.py")!r}\n'
        'custom_hooks = _base_.custom_hooks\n'
        'custom_hooks[1].update(batch=4, choices=[0, 0.5], stage_limits=[0, 0.5, 0.5, 0.5])\n'
    )
    args = argparse.Namespace(config=str(path), work_dir=tmp_path, budget=['macs=0.7'])
    comparison = tool.Comparison(args)
    assert comparison.shape.batch == 4
    assert comparison.space.choices == ((0.0,), (0.0, 0.5), (0.0, 0.5), (0.0, 0.5))


def test_results_of_another_config_are_not_taken(compare, monkeypatch, tool):
    compare()
    monkeypatch.setattr(tool, 'digest_of', lambda cfg: 'another')
    with pytest.raises(BadInputError, match='runs with other settings'):
        compare()


def test_other_settings_need_another_folder(compare, tool, tmp_path):
    compare()
    with pytest.raises(BadInputError, match=r'runs with other settings .*start in another'):
        compare('--evaluations', 80)
    tool.keep_settings(tmp_path / 'a', epochs=8)
    tool.keep_settings(tmp_path / 'a', epochs=8)
    (tmp_path / 'a' / 'settings.json').write_text('{"epo')
    with pytest.raises(BadInputError, match=r'cannot be read .*start in another'):
        tool.keep_settings(tmp_path / 'a', epochs=8)
