"""What users get wrong, and what they are told: a line for each mistake, by its kind.

A line is a command line of ``tools/`` in the folder that :mod:`tests.mistakes.world` makes, and a
piece of the sentence that ends it. ``{configs}`` is the folder of our configs, ``{here}`` that of
the files. At most three lines are of a kind, so that the table shows how many kinds there are.
"""

Line = tuple[str, str]
HOST = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
BENCHMARK = 'analysis_tools/benchmark.py --run a config.py'
LATENCY = 'analysis_tools/latency_table.py config.py --shape 64 64'
ROIS = 'analysis_tools/visualize_rois.py image.png former.py former.pth --shape 64 64'
SPARSITY = 'analysis_tools/visualize_sparsity.py image.png config.py config.pth'
COMPARE = 'benchmarks/compare_searches.py toy.py toy.py toy.pth --work-dir compared'
REPLAY = 'benchmarks/replay_searches.py toy.py empty.csv --budget macs=0.7'
SMALL = 'analysis_tools/focus_share.py {configs}/sparseformer_small_objects.py'

CONFIGS: dict[str, list[Line]] = {
    'no such config': [
        ('train.py nothing.py', "There is no config file 'nothing.py'"),
        ('check_data.py nothing.py', "There is no config file 'nothing.py'"),
        (f'make_sparse.py {HOST}x', 'name it as PACKAGE::PATH below'),
    ],
    'a config that is no Python': [('train.py syntax.py', "'(' was never closed")],
    'a config that inherits nothing': [('train.py orphan.py', "gone.py' cannot be read")],
    'an import that is not installed': [
        ('check_data.py stranger.py', "No module named 'no_such_package'; install it"),
    ],
    'a config without a model': [
        ('train.py no_model.py', 'The config has no model, train_dataloader'),
        ('analysis_tools/get_flops.py no_model.py --shape 64 64', 'The config has no model.'),
    ],
    'a config without data': [
        ('test.py toy.py toy.pth', 'no test_dataloader, test_cfg, test_evaluator'),
        ('analysis_tools/sensitivity.py config.py config.pth', 'no val_dataloader, val_cfg'),
        ('analysis_tools/focus_share.py former.py', 'The config has no test_dataloader'),
    ],
    'an unknown type': [
        ('test.py unknown_type.py config.pth', "did you mean 'SparseViT'?"),
        (
            'train.py toy.py --work-dir a --cfg-options optim_wrapper.optimizer.type=AdamX',
            "the optimizer 'AdamX', and there is none of that name",
        ),
        (
            'train.py toy.py --work-dir a --cfg-options val_evaluator.type=Toy',
            "type='Toy', and there is no such metric",
        ),
    ],
    'an unknown argument': [
        ('analysis_tools/get_flops.py unknown_argument.py', "did you mean 'window_size'?"),
        (
            'train.py toy.py --work-dir a --cfg-options model.pruning_ratio=0.5',
            "ToyClassifier has no argument 'pruning_ratio'",
        ),
    ],
    'a missing argument': [
        ('analysis_tools/get_flops.py lacking.py', "LinearClsHead needs 'in_channels'"),
    ],
    'an override that fits nothing': [
        ('demo.py --cfg-options custom_hooks.9.at=2 --work-dir {here}/a', "which has no '9'"),
        ('train.py toy.py --cfg-options train_cfg.max_epochs.x=2', 'in which nothing can be set'),
    ],
    'an override without a value': [
        ('train.py toy.py --cfg-options train_cfg', "'train_cfg' is not key=value"),
        ('demo.py --cfg-options faster', "'faster' is not key=value"),
        ('trial --work-dir a --cfg-options x', "'x' is not key=value"),
    ],
    'a setting that MMEngine needs': [
        ('train.py toy.py --auto-scale-lr', 'needs auto_scale_lr=dict(enable=False'),
        ('test.py config.py config.pth --show-dir drawn', 'need a visualization hook'),
    ],
    'a best metric that there is not': [
        ('train.py best.py --work-dir a', "save_best='accuracy/top3', and the val_evaluator"),
    ],
    'a window that slides nowhere': [
        ('analysis_tools/get_flops.py sliding.py', "mode='slide' and crop_size=None; it needs"),
        ('analysis_tools/latency_table.py sliding.py', 'needs crop_size=(H, W), the window'),
    ],
    'a launcher that is not around': [
        ('train.py nothing.py --launcher slurm', '--launcher slurm needs `srun` around'),
        ('test.py nothing.py gone.pth --launcher mpi', '--launcher mpi needs `mpirun`'),
    ],
    'annotations that are resized': [
        ('test.py resized_truth.py config.pth --show-dir a', 'let LoadAnnotations follow Resize'),
    ],
    'an empty batch': [
        (
            'train.py toy.py --cfg-options train_dataloader.batch_size=0',
            'batch_size of train_dataloader must be at least 1, not 0',
        ),
    ],
}
FILES: dict[str, list[Line]] = {
    'no such checkpoint': [
        ('test.py config.py gone.pth', "The checkpoint 'gone.pth' does not exist"),
        ('benchmarks/scaling.py toy.py gone.pth', "The checkpoint 'gone.pth' does not exist"),
        ('model_converters/publish.py gone.pth out.pth', "'gone.pth' does not exist"),
    ],
    'a truncated checkpoint': [
        ('test.py config.py cut.pth', "'cut.pth' is truncated"),
        ('model_converters/publish.py cut.safetensors out.pth', 'not a safetensors file'),
        ('model_converters/sparseformer.py nothing.pth out.pth', "'nothing.pth' is truncated"),
    ],
    'a file that is no checkpoint': [
        ('search.py toy.py list.pth --budget macs=0.7', 'holds a list, not a checkpoint'),
        ('model_converters/publish.py no_weights.pth out.pth', 'holds no named weights'),
        ('analysis_tools/sensitivity.py toy.py run', "'run' is a folder; name the file"),
    ],
    'a file of another kind': [
        ('test.py config.py pointer.pth', "'pointer.pth' is a pointer of Git LFS"),
        ('search.py toy.py page.pth --budget macs=0.7', "'page.pth' is a web page"),
        ('model_converters/publish.py archive.pth out.pth', 'a zip archive of other files'),
    ],
    'one part of several': [
        ('model_converters/publish.py model-1-of-2.safetensors out.pth', 'name the index beside'),
    ],
    'names of another library': [
        ('test.py config.py torchvision.pth', "which are torchvision's names of Swin"),
    ],
    'weights of a run that diverged': [
        ('test.py config.py diverged.pth', 'has NaN or infinity in head.fc.weight'),
    ],
    'a checkpoint of another model': [
        ('test.py config.py former.pth', 'head.fc.weight (2, 128) instead of (3, 16)'),
        ('analysis_tools/window_usage.py config.py --checkpoint foreign.pth', 'it lacks patch_'),
        (f'{SMALL} foreign.pth', 'is of another model: it lacks backbone.token_embedding'),
    ],
    'an output without a folder': [
        ('model_converters/publish.py config.pth file/out.pth', 'choose another with OUT'),
        ('model_converters/sparseformer.py former.pth file/out.pth', 'choose another with DST'),
    ],
    'weights of another kind': [
        ('model_converters/sparseformer.py config.pth out.pth', 'not a SparseFormer checkpoint'),
    ],
    'a folder that cannot be written': [
        ('demo.py --work-dir {here}/file/run', 'cannot be written (Not a directory)'),
        ('gpu_check.py --dry-run --out file/run', 'choose another with --out.'),
        ('trial --work-dir file/run', "The work directory 'file/run' cannot be written"),
    ],
    'a folder of another machine': [
        ('train.py toy.py --work-dir s3://bucket/run', 'is none of this machine'),
        ('deployment/export.py config.py --out s3://bucket/m.onnx', 'is none of this machine'),
    ],
    'a file that cannot be written': [
        ('deployment/export.py config.py --out file/m.pt2', "'file/m.pt2' cannot be written"),
        (f'{LATENCY} --out file/table.json', 'choose another with --out'),
        ('benchmarks/scaling.py toy.py --json file/x.json', 'choose another with --json'),
    ],
    'a file that is there already': [
        (f'make_sparse.py {HOST} --out toy.py', "'toy.py' is there already"),
        (f'{LATENCY} --out image.png', "'image.png' exists; move it away"),
        ('model_converters/sparseformer.py former.pth toy.pth', "'toy.pth' exists; move it away"),
    ],
    'an earlier run': [('train.py toy.py --work-dir run', 'go on with it by --resume')],
    'an unknown kind of file': [
        (f'make_sparse.py {HOST} --out sparse.txt', '--out must name a .py file'),
        ('deployment/export.py config.py --out model.bin', 'must end in .onnx or .pt2'),
        (f'{ROIS} --out rois.txt', '--out must name a picture'),
    ],
    'a file of another content': [
        ('search.py toy.py toy.pth --budget ms=9 --latency-table list.json', 'not a latency table'),
        ('analysis_tools/compare_models.py --read list.json', 'no comparison can be read from it'),
        ('deployment/run_exported.py undescribed.onnx image.png', 'does not describe the model'),
    ],
    'a history without scores': [
        (REPLAY, 'The histories hold no scores'),
        (REPLAY.replace('empty', 'gone'), "'gone.csv' is not the history.csv of a search"),
    ],
    'an exported model that is none': [
        ('deployment/run_exported.py gone.onnx image.png', 'There is no exported model'),
    ],
    'a picture that is none': [
        ('analysis_tools/visualize_sparsity.py text.png config.py config.pth', 'not an image'),
        (ROIS.replace('image', 'gone'), "'gone.png' does not exist or is not an image"),
        ('test.py spoiled_images.py config.pth', "'spoiled/a/1.png' cannot be read"),
    ],
    'a clip that is none': [
        ('analysis_tools/visualize_sparsity.py clip.mp4 config.py config.pth', 'cannot be read'),
        (f'{SPARSITY} --every 0', '--every and --fps must be at least 1'),
        (
            f'{SPARSITY.replace("image.png", "photos/a")} --out image.png/a.mp4',
            "'image.png' cannot be written",
        ),
    ],
    'a model without windows': [
        (SPARSITY.replace('config.p', 'former.p'), 'A SparseFormer has no windows to colour'),
    ],
    'a folder without pictures': [
        (SPARSITY.replace('image.png', 'empty'), "The folder 'empty' has no pictures"),
    ],
    'data that are not there': [
        ('check_data.py moved.py', "there is no 'nowhere'"),
        ('analysis_tools/engine_error.py moved.py --engine onnxruntime', "there is no 'nowhere'"),
        ('analysis_tools/window_usage.py moved.py', "there is no 'nowhere'"),
    ],
    'a folder without classes': [('check_data.py empty_folder.py', 'no folder for each class')],
    'data without masks': [('analysis_tools/focus_share.py config.py', 'one of ShapePictures')],
}
SHOW = 'benchmarks/small_objects.py --work-dir shown'
RACING = 'benchmarks/simulate_racing.py'
NUMBERS: dict[str, list[Line]] = {
    'a showing of nothing': [
        (f'{SHOW} --epochs 0', '--epochs, --evaluations and --jobs must be at least 1'),
        (f'{SHOW} --configs nowhere', "There is no config 'nowhere_dense.py'"),
        (f'{SHOW} --budget half', "The budget 'half' cannot be read"),
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
        ('analysis_tools/sensitivity.py toy.py toy.pth --seed 99999999999', 'must be below 2**32'),
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
            'benchmarks/compare_searches.py toy.py toy.py toy.pth --work-dir a --budget macs=0.5',
            'no',
        ),
        ('analysis_tools/benchmark.py --run a mmdet.SwinTransformer', 'give --shape H W'),
    ],
}
CHOICES: dict[str, list[Line]] = {
    'a model that cannot be pruned': [
        ('analysis_tools/get_flops.py resnet.py --shape 64 64 --ratios 0.4', 'ResNet cannot be'),
        ('analysis_tools/engine_error.py former.py --ratios 0.5', 'SparseFormer cannot be pruned'),
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
        (f'{LATENCY} --engine openvino --dtype bfloat16', 'or --dtype for autocast, not both'),
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
TABLE = {**CONFIGS, **FILES, **NUMBERS, **CHOICES}
