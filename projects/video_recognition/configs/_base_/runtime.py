# What all configs here share.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(
    imports=['sparse_mm', 'projects.video_recognition.video_recognition'],
    allow_failed_imports=False,
)
val_cfg = dict()
test_cfg = dict()
