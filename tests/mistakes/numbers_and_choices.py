"""Mistaken numbers and choices; see :mod:`tests.mistakes.table`."""

from tests.mistakes.lines import (
    BENCHMARK,
    COMPARE,
    HOST,
    LATENCY,
    PROXIES,
    REPLAY,
    ROIS,
    SMALL,
    SPARSITY,
    Line,
)

SHOW = 'benchmarks/small_objects.py --work-dir shown'
RACING = 'benchmarks/simulate_racing.py'
NUMBERS: dict[str, list[Line]] = {
    'a showing of nothing': [
        (f'{SHOW} --epochs 0', '--epochs, --evaluations and --jobs must be at least 1'),
        (f'{SHOW} --configs nowhere', "There is no config 'nowhere_dense.py'"),
        (f'{SHOW} --budget half', "The budget 'half' cannot be read"),
    ],
    'a showing of tiny images': [
        (f'{SHOW} --sizes 896 32', '--sizes must be at least 64 pixels; they are [896, 32]'),
    ],
    'a showing in another way': [(f'{SHOW} --until tomorrow', "invalid choice: 'tomorrow'")],
    'a simulation of nothing': [
        (f'{RACING} --worlds 1', '--worlds must be at least 2'),
        (f'{RACING} --first 50', '--first between 2 and 49'),
        (f'{RACING} --common 2', '--common must be between 0 and 1'),
    ],
    'a simulation of something else': [
        (f'{RACING} --strategies best', "invalid choice: 'best'"),
    ],
    'a number below one': [
        ('check_data.py config.py --samples 0', '--samples must be at least 1, not 0'),
        (f'{SMALL} --images 0', '--images must be at least 1, not 0'),
        (f'{REPLAY} --seeds 0', '--seeds must be at least 1, not 0'),
    ],
    'numbers below one': [
        ('benchmarks/scaling.py toy.py --processes 0', 'All numbers must be at least 1'),
        ('benchmarks/latency_under_load.py config.py --turns 0', 'must be at least 1'),
        (f'{COMPARE} --budget macs=0.5 --jobs 0', '--evaluations and --jobs must be at least 1'),
    ],
    'no images': [
        ('analysis_tools/window_usage.py config.py --images 0', '--images must be at least 1'),
        ('analysis_tools/engine_error.py config.py --images 0', '--images must be at least 1'),
        ('analysis_tools/sensitivity.py toy.py toy.pth --num-images 0', 'num_images must be at'),
    ],
    'an empty size': [
        (f'{BENCHMARK} --shape 0 64', '--batch, --shape, --frames and --threads must be'),
        (f'{SPARSITY} --shape 0 64', '--shape must be two numbers of at least 1'),
        (ROIS.replace('64 64', '0 64'), '--shape must be two numbers of at least 1'),
    ],
    'no time': [
        ('gpu_check.py --seconds 0', '--seconds must be above 0'),
        ('benchmarks/latency_under_load.py config.py --seconds 0', '--seconds above 0'),
        ('analysis_tools/compare_models.py --seconds 0', '--seconds above 0'),
    ],
    'a number outside of its range': [
        (f'{SPARSITY} --score-thr 2', '--score-thr must be between 0 and 1, not 2'),
        (f'{ROIS} --stages 9', '--stages: 9 is not between 1 and 5'),
        ('search.py toy.py toy.pth --mutation 2', 'mutation must be above 0 and at most 1'),
    ],
    'the page of all configs': [
        ('analysis_tools/model_zoo.py --out zoo.html', '--out must name a .md file'),
        ('analysis_tools/model_zoo.py --out file/zoo.md', 'choose another with --out'),
    ],
    'not a multiple': [(f'{BENCHMARK} --matrix 100', 'must be a multiple of 16, not 100')],
    'no number at all': [
        ('check_data.py config.py --samples many', "invalid int value: 'many'"),
        ('trial --work-dir a --seeds one', "invalid int value: 'one'"),
        ('benchmarks/scaling.py toy.py --turns some', "invalid int value: 'some'"),
    ],
    'no number of a usual size': [
        ('gpu_check.py --seconds 99999999999', 'is not a number up to 1e+09'),
        (f'{BENCHMARK} --seconds nan', "'nan' is not a number up to 1e+09"),
        ('search.py toy.py toy.pth --mutation 1e400', "'1e400' is not a number up to"),
    ],
    'a number beyond 32 bits': [
        (
            'analysis_tools/sensitivity.py toy.py toy.pth --seed 99999999999',
            'argument --seed: 99999999999 is beyond the range of 32-bit numbers',
        ),
        (
            'deployment/export.py config.py --out m.pt2 --batch 99999999999999999999',
            'is beyond the range of 32-bit numbers',
        ),
        (f'{BENCHMARK} --shape 64 99999999999999999999', 'beyond the range of 32-bit numbers'),
    ],
    'a ratio of one or more': [
        ('analysis_tools/sensitivity.py toy.py toy.pth --ratios 1.0', 'less than 1'),
        ('deployment/export.py config.py --out m.pt2 --ratios 2', 'less than 1'),
        (f'{LATENCY} --choices 1.5', 'must be ratios of at least 0 and less than 1'),
    ],
    'a wrong number of ratios': [
        (f'{SPARSITY} --ratios [0.1,0.2,0.3]', 'pruning_ratios has 3 numbers'),
        ('search.py toy.py toy.pth --budget macs=0.7 --stage-limits 0.5', 'has 1 entries'),
    ],
    'ratios that are no JSON': [
        ('analysis_tools/window_usage.py config.py --ratios [0.5', 'cannot be read as JSON'),
        ('analysis_tools/get_flops.py config.py --ratios ratios.json', 'must hold a number'),
    ],
    'more than fits into memory': [
        (
            'deployment/export.py config.py --out m.pt2 --shape 64 64 --batch 999999999',
            'too little',
        ),
    ],
    'an image beyond all sizes': [
        (SPARSITY + ' --shape 99999 64', 'at least 1 and at most 32767, not [99999, 64]'),
        (ROIS.replace('64 64', '64 99999'), 'at least 1 and at most 32767'),
    ],
    'an image below the stride': [
        ('analysis_tools/get_flops.py former.py --shape 2 2', 'smaller than the stride 4'),
        ('deployment/export.py former.py --out m.pt2 --shape 2 2', 'smaller than the stride 4'),
    ],
    'no size known': [
        ('benchmarks/latency_under_load.py no_size.py', 'no fixed image size'),
        (
            'benchmarks/compare_searches.py no_size.py toy.py toy.pth --work-dir a --budget macs=1',
            'no',
        ),
        ('analysis_tools/benchmark.py --run a mmdet.SwinTransformer', 'give --shape H W'),
    ],
}
CHOICES: dict[str, list[Line]] = {
    'a model that cannot be pruned': [
        ('analysis_tools/get_flops.py resnet.py --shape 64 64 --ratios 0.4', 'ResNet cannot be'),
        (
            'analysis_tools/engine_error.py former.py --engine torch --ratios 0.5',
            'cannot be pruned',
        ),
    ],
    'a model without our backbone': [
        (LATENCY.replace('config', 'resnet'), 'no SparseViT backbones'),
        ('deployment/export.py resnet.py --out m.pt2 --shape 64 64', 'exactly one is needed'),
        ('benchmarks/latency_under_load.py former.py', 'no SparseViT backbones'),
    ],
    'a model without RoIs': [
        (ROIS.replace('former.p', 'config.p'), 'SparseViT has no RoIs'),
    ],
    'a config without Swin': [('make_sparse.py resnet.py', 'has no Swin backbones')],
    'a model of images': [
        ('analysis_tools/get_flops.py config.py --frames 8', 'SparseViT is no model of clips'),
    ],
    'a budget that is no budget': [
        ('search.py toy.py toy.pth --budget speed=2', 'the units are latency, ms, macs, gmacs'),
        (f'make_sparse.py {HOST} --budget fast', "The budget 'fast' cannot be read"),
        (f'{COMPARE} --budget fast', "The budget 'fast' cannot be read"),
    ],
    'no budget': [
        ('search.py config.py config.pth', 'The search needs a budget'),
        ('benchmarks/replay_searches.py config.py empty.csv', 'The search needs a budget'),
    ],
    'a budget out of reach': [
        ('search.py toy.py toy.pth --budget macs=0.01', 'cannot be met: the search space reaches'),
        ('search.py toy.py toy.pth --budget macs=0.7..0.6', 'allows nothing: min is above max'),
    ],
    'an unknown metric': [
        ('analysis_tools/sensitivity.py toy.py toy.pth --metric toy/none', "the metric 'toy/none'"),
    ],
    'a search after the end': [
        (
            'train.py toy.py --work-dir a --cfg-options custom_hooks.2.at=9',
            'searches at 9, but the training ends at 6',
        ),
    ],
    'an unknown device': [
        (f'{BENCHMARK} --device tpu', "--device must be cpu or cuda, not 'tpu'"),
        ('analysis_tools/compare_models.py --device tpu', '--device must be cpu or cuda'),
    ],
    'a choice that is none': [
        ('test.py config.py config.pth --engine tensorrt', "invalid choice: 'tensorrt'"),
        ('setup_env.py --mmcv full', "invalid choice: 'full'"),
        ('deployment/run_exported.py whole.onnx image.png --engine fast', "invalid choice: 'fast'"),
    ],
    'a section or a table that is none': [
        ('gpu_check.py --only everything', "invalid choice: 'everything'"),
        ('analysis_tools/compare_models.py --table cifar', "invalid choice: 'cifar'"),
        (
            'benchmarks/replay_searches.py toy.py empty.csv --strategies grid',
            "invalid choice: 'grid'",
        ),
    ],
    'a row that is none': [
        ('analysis_tools/compare_models.py --table imagenet --only Swin-X', "mean 'Swin-T'?"),
    ],
    'a precision that an engine lacks': [
        (
            'test.py config.py config.pth --engine onnxruntime --precision bfloat16',
            'in float32, not',
        ),
        (
            'analysis_tools/engine_error.py config.py --engine torch --precision float32',
            'There is nothing to compare',
        ),
    ],
    'options that exclude each other': [
        (f'{LATENCY} --engine onnxruntime --dtype bfloat16', 'or --dtype for autocast, not both'),
        (f'{BENCHMARK} --preset sparsevit', 'either by --run or by --preset'),
        ('setup_env.py --stack onedl --mmcv lite', 'of the default stack; leave it out'),
    ],
    'environments of the other kind': [
        (
            'setup_env.py --stack onedl {here}/with_openmmlab',
            "the packages of the stack 'openmmlab'",
        ),
        ('setup_env.py --mmcv lite {here}/with_mmcv', 'has compiled mmcv'),
    ],
    'two runs of a name': [(f'{BENCHMARK} --run a config.py', "Two runs are called 'a'")],
    'the small task: values': [
        ('benchmarks/small_objects.py --work-dir a --until now', "invalid choice: 'now'"),
        ('benchmarks/small_objects.py --work-dir a --epochs few', "invalid int value: 'few'"),
        ('benchmarks/small_objects.py --work-dir a --strategies grid', "invalid choice: 'grid'"),
    ],
    'the small task: no folder': [
        ('benchmarks/small_objects.py', 'arguments are required: --work-dir'),
    ],
    'scores that predict: no finetunings': [
        (PROXIES, 'the following arguments are required: --finetuned'),
        (f'{PROXIES} --finetuned empty', 'has 0 finetuned settings; a rank correlation needs'),
    ],
    'scores that predict: numbers of images': [
        (f'{PROXIES} --finetuned empty --images 1', '--images must be at least 2'),
        (f'{PROXIES} --finetuned empty --images many', "invalid int value: 'many'"),
    ],
    'words that mean nothing': [
        ('analysis_tools/model_zoo.py configs', 'unrecognized arguments: configs'),
        ('analysis_tools/model_zoo.py --out', 'expected one argument'),
    ],
    'a missing option': [
        ('trial', 'the following arguments are required: --work-dir'),
        (COMPARE, 'the following arguments are required: --budget'),
        ('demo.py --work-dir', 'expected one argument'),
    ],
    'an option that needs values': [('gpu_check.py --only', 'expected at least one argument')],
    'a file that a detector needs': [
        ('deployment/run_exported.py boxes.onnx image.png', 'give --config and --checkpoint'),
    ],
}
