""" "X is not in the models registry": ours are, from anywhere, in every host's scope."""

import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.registry import HOOKS, MODELS

from tests.conftest import ROOT


def run_python(code, cwd):
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], cwd=cwd, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_found_in_every_scope_from_any_directory(tmp_path):
    (tmp_path / 'config.py').write_text(
        """
custom_imports = dict(imports=['sparse_mm'])
model = dict(type='SparseViT', embed_dims=16, num_heads=(1, 2, 4, 8))
former = dict(type='SparseFormer')
hook = dict(type='SparsitySearchHook', at=1, budget='macs=0.5', metric='any')
"""
    )
    out = run_python(
        """
        from importlib import import_module
        from mmengine.config import Config
        from mmengine.registry import init_default_scope
        cfg = Config.fromfile('config.py')
        for scope in ('mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'mmdet3d'):
            registry = import_module(f'{scope}.registry')
            if scope != 'mmengine':
                import_module(f'{scope}.utils').register_all_modules()
            init_default_scope(scope)
            built = [registry.MODELS.build(cfg[name]) for name in ('model', 'former')]
            built.append(registry.HOOKS.build(cfg.hook))
            names = [type(item).__name__ for item in built]
            print(scope, *names, registry.DATASETS.get('ShapesDataset').__name__)
        """,
        tmp_path,
    )
    classes = 'SparseViT SparseFormer SparsitySearchHook ShapesDataset'
    for scope in ('mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'mmdet3d'):
        assert f'{scope} {classes}' in out


def test_init_detector_from_any_directory_takes_the_checkpoints_ratios(tmp_path):
    out = run_python(
        f"""
        import torch
        from mmdet.apis import init_detector, inference_detector
        config = {str(ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py')!r}
        model = init_detector(config, device='cpu', palette='random')
        model.backbone.set_pruning_ratios([0.6, 0.3, 0, 0])
        torch.save(dict(state_dict=model.state_dict(), meta={{}}), 'sparse.pth')
        again = init_detector(config, 'sparse.pth', device='cpu', palette='random')
        print(again.backbone.pruning_ratios)
        """,
        tmp_path,
    )
    assert out.strip().splitlines()[-1] == '[[0.6, 0.6], [0.3, 0.3], [0.0, 0.0], [0.0, 0.0]]'


def test_found_in_spawned_data_loader_workers(tmp_path):
    (tmp_path / 'load.py').write_text(
        textwrap.dedent(
            """
            from torch.utils.data import DataLoader
            from mmengine.config import Config
            from mmengine.registry import DATASETS, init_default_scope

            def first(batch):
                return batch[0]['inputs'].shape

            if __name__ == '__main__':
                import sys
                cfg = Config.fromfile(sys.argv[1])
                init_default_scope('mmdet')
                data = cfg.val_dataloader.dataset
                data.update(num_images=2, size=64)
                loader = DataLoader(
                    DATASETS.build(data), num_workers=1, collate_fn=first,
                    multiprocessing_context='spawn')
                print(tuple(next(iter(loader))))
            """
        )
    )
    config = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
    result = subprocess.run(
        [sys.executable, 'load.py', str(config)], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip().splitlines()[-1] == '(3, 448, 448)'


@pytest.mark.slow
def test_found_when_the_hosts_own_tool_is_launched(tmp_path):
    # As `mim train mmdet CONFIG` does.
    import mmdet

    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    config = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
    options = [f'train_dataloader.dataset.{name}' for name in ('num_images=2', 'size=96')]
    options += [
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=9',
        'model.backbone.embed_dims=16',
    ]
    options += ['model.neck.in_channels=[32,64,128]']
    options += ['train_dataloader.dataset.pipeline.2.scale=(128,128)']
    options += [f'val_dataloader.dataset.{name}' for name in ('num_images=2', 'size=96')]
    result = subprocess.run(
        [sys.executable, str(tool), str(config), '--work-dir', 'run', '--cfg-options', *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


def test_backbones_need_no_host_package(tmp_path):
    out = run_python(
        """
        import sys
        for name in ('mmdet', 'mmseg', 'mmpretrain', 'mmdet3d', 'mmcv.ops'):
            sys.modules[name] = None  # importing it raises
        import torch
        from sparse_mm.models import SparseViT
        model = SparseViT(embed_dims=16, num_heads=(1, 2, 4, 8), pruning_ratios=0.5)
        model.init_weights()
        print(len(model(torch.randn(1, 3, 64, 64))))
        """,
        tmp_path,
    )
    assert out.strip() == '4'


@pytest.mark.parametrize('name', ['compare_searches.py', 'replay_searches.py'])
def test_tools_that_moved_are_found_at_their_old_paths(run_tool, name):
    old = run_tool(f'analysis_tools/{name}', '--help')
    assert f'use tools/benchmarks/{name} instead' in old.stderr
    assert old.stdout == run_tool(f'benchmarks/{name}', '--help').stdout


SLOW = ('mmdet', 'mmseg', 'mmdet3d', 'mmpretrain', 'matplotlib', 'pandas', 'tqdm', 'projects')


def test_importing_it_imports_no_host_package(tmp_path):
    out = run_python(
        f"""
        import sys, torch
        before = set(sys.modules)
        import sparse_mm
        from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
        pictures = 'ShapePictures', 'PointingPictures', 'PointingPairs'
        for name in ('ShapesDataset', 'DrivingDataset', *pictures):
            assert DATASETS.get(name).__name__ == name
        assert METRICS.get('MonoNuScenesMetric') and HOOKS.get('SparsitySearchHook')
        assert MODELS.get('SparseViT') and MODELS.get('LatentToPyramid')
        print([name for name in {SLOW} if name in set(sys.modules) - before])
        """,
        tmp_path,
    )
    assert out.strip() == '[]'


def test_what_is_imported_on_use_is_a_class_to_its_users(tmp_path):
    pytest.importorskip('mmdet')
    out = run_python(
        """
        import sys, sparse_mm
        from mmengine.registry import DATASETS
        stand_in = DATASETS.get('ShapesDataset')
        assert 'mmdet' not in sys.modules
        class More(stand_in):
            pass
        from sparse_mm.datasets import ShapesDataset
        from mmdet.datasets import CocoDataset
        assert More.__bases__ == (ShapesDataset,)
        assert stand_in.METAINFO is ShapesDataset.METAINFO
        assert issubclass(More, stand_in) and not issubclass(CocoDataset, stand_in)
        assert DATASETS.get('ShapesDataset') is ShapesDataset
        assert DATASETS.get('sparse_mm.datasets.ShapesDataset') is ShapesDataset
        print(isinstance(More.__new__(More), stand_in), isinstance(1, stand_in))
        """,
        tmp_path,
    )
    assert out.strip() == 'True False'


def test_a_data_set_that_moved_says_where_to(tmp_path):
    out = run_python(
        """
        import sys, sparse_mm
        from mmengine.registry import DATASETS
        from sparse_mm.errors import BadInputError
        sys.modules['projects'] = None  # importing it raises
        try:
            DATASETS.build(dict(type='DrivingDataset'))
        except BadInputError as error:
            print(error)
        """,
        tmp_path,
    )
    assert 'has moved to projects/bevdet' in out


# Names that users' scripts and configs contain.
PUBLIC = {
    'sparse_mm.models': [
        'BootstrappedSparseFormer',
        'LatentToPyramid',
        'SparseFormer',
        'SparseViT',
        'VideoSparseFormer',
    ],
    'sparse_mm.engine.hooks': [
        'CheckDataHook',
        'SparsityAdaptationHook',
        'SparsitySearchHook',
        'StepSeedHook',
    ],
    'sparse_mm.engine.command_line': ['build_runner', 'read_config'],
    'sparse_mm.errors': ['BadInputError'],
    'sparse_mm.checkpoints': ['latest_checkpoint', 'read_checkpoint'],
}


def test_public_names_stay():
    for module, names in PUBLIC.items():
        found = import_module(module)
        for name in names:
            assert callable(getattr(found, name)), f'{module}.{name}'
    for name in PUBLIC['sparse_mm.models']:
        assert MODELS.get(name).__name__ == name
    for name in PUBLIC['sparse_mm.engine.hooks']:
        assert HOOKS.get(name).__name__ == name
    assert issubclass(import_module('sparse_mm.errors').BadInputError, ValueError)


@pytest.mark.parametrize(
    'path',
    [
        *(f'configs/sparsevit_maskrcnn_{name}.py' for name in ('coco', 'coco_dense', 'shapes')),
        *(f'configs/sparsevit_maskrcnn_coco_{ms}ms.py' for ms in (33, 34, 41)),
        *(f'configs/sparsevit_maskrcnn_coco_{n}.py' for n in ('r512', 'r544', 'r576')),
        *(f'configs/sparsevit_maskrcnn_coco_{n}.py' for n in ('w06', 'w08', 'w09')),
        *(f'configs/sparsevit_mask2former_cityscapes{n}.py' for n in ('', '_dense', '_r896')),
        'configs/sparsevit_mask2former_cityscapes_1296g.py',
        *(f'configs/sparsevit_upernet_cityscapes{n}.py' for n in ('', '_dense')),
        'configs/sparsevit_maskrcnn_shapes_dense.py',
        'configs/sparsevit_maskrcnn_shapes_deep.py',
        'configs/sparsevit_maskrcnn_shapes_deep_finetune.py',
        'configs/sparsevit_maskrcnn_coco_overfit.py',
        'configs/sparsevit_fcos3d_nuscenes.py',
        *(f'configs/sparseformer_{n}_imagenet.py' for n in ('tiny', 'small', 'base')),
        *(f'configs/sparseformer_base_imagenet_{n}.py' for n in ('384', '384_n144', '512')),
        'configs/sparseformer_base_imagenet_384_n196.py',
        *(f'configs/sparseformer_maskrcnn_{n}.py' for n in ('coco', 'shapes')),
        'configs/sparseformer_upernet_cityscapes.py',
        'configs/sparseformer_fcos3d_nuscenes.py',
        'configs/sparseformer_imagenet_overfit.py',
        'configs/sparseformer_shapes.py',
        'projects/bevdet/configs/bevdet_driving.py',
        'projects/bevdet/configs/bevdet_driving_sparse.py',
        *(f'projects/bevdet/configs/bevdet_sparsevit_{n}g.py' for n in (59, 78, 114)),
        *(f'projects/bevdet/configs/bevdet_swint_{n}.py' for n in ('192x528', '224x616')),
        *(f'projects/bevdet/configs/bevdet_swint-w0{n}_256x704.py' for n in (4, 6)),
        'projects/bevdet/configs/bevdet_swint_256x704.py',
    ],
)
def test_published_configs_keep_their_names(path):
    assert (ROOT / path).is_file()
