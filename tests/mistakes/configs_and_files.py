"""Mistakes in configs and with files; see :mod:`tests.mistakes.table`."""

from tests.mistakes.lines import HOST, LATENCY, REPLAY, ROIS, SMALL, SPARSITY, Line

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
        ('train.py toy.py --work-dir s3://bucket/run', 'is not on this machine'),
        ('deployment/export.py config.py --out s3://bucket/m.onnx', 'is not on this machine'),
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
