"""Configs of the installed hosts with a Swin, found in their text, since parsing takes minutes."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

HOSTS = 'mmdet', 'mmseg', 'mmdet3d', 'mmpretrain'
# A few of each kind, for every run: heads, windows, versions and arguments that differ.
SUBSET = (
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py',
    'mmseg::swin/swin-base-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512.py',
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
    'mmpretrain::swin_transformer_v2/swinv2-base-w24_in21k-pre_16xb64_in1k-384px.py',
    'mmpretrain::simmim/benchmarks/swin-large-w14_8xb256-coslr-100e_in1k.py',
)


def swin_configs() -> list[str]:
    """All configs with a Swin backbone: ``'mmdet::swin/….py'``."""
    found = []
    for host in HOSTS:
        spec = find_spec(host)
        if spec is None or spec.origin is None:
            continue
        root = Path(spec.origin).parent / '.mim' / 'configs'
        texts = {str(path): path.read_text() for path in sorted(root.rglob('*.py'))}
        known: dict[str, bool] = {}
        for path in texts:
            name = os.path.relpath(path, root)
            if not name.startswith('_base_') and _has_swin(path, texts, known):
                found.append(f'{host}::{name}')
    return found


def _has_swin(path: str, texts: dict[str, str], known: dict[str, bool]) -> bool:
    if path not in known:
        text = re.sub(r'#.*', '', texts.get(path, ''))
        inherited = re.search(r'_base_\s*=\s*(\[.*?\]|\(.*?\)|[\'"].*?[\'"])', text, re.S)
        bases = re.findall(r'[\'"]([^\'"]+\.py)[\'"]', inherited[1] if inherited else '')
        known[path] = 'SwinTransformer' in text or any(
            _has_swin(os.path.normpath(os.path.join(os.path.dirname(path), base)), texts, known)
            for base in bases
        )
    return known[path]
