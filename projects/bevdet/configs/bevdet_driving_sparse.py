# Finetunes the BEVDet of bevdet_driving.py with half of its windows:
#   --cfg-options load_from=work_dirs/bevdet_driving/epoch_10.pth
_base_ = './bevdet_driving.py'

model = dict(backbone=dict(pruning_ratios=[[0.6, 0.6], [0.4, 0.4], [0.3, 0.3, 0.3, 0.3, 0.6, 0.6]]))

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
