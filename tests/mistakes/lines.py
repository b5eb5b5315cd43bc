"""Common beginnings of the command lines with mistakes."""

Line = tuple[str, str]
HOST = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
BENCHMARK = 'analysis_tools/benchmark.py --run a config.py'
LATENCY = 'analysis_tools/latency_table.py config.py --shape 64 64'
ROIS = 'analysis_tools/visualize_rois.py image.png former.py former.pth --shape 64 64'
SPARSITY = 'analysis_tools/visualize_sparsity.py image.png config.py config.pth'
COMPARE = 'benchmarks/compare_searches.py toy.py toy.py toy.pth --work-dir compared'
REPLAY = 'benchmarks/replay_searches.py toy.py empty.csv --budget macs=0.7'
PROXIES = 'benchmarks/proxies.py toy.py toy.pth'
SMALL = 'analysis_tools/focus_share.py {configs}/sparseformer_small_objects.py'
