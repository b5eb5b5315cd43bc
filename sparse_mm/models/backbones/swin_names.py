"""The hosts' Swin Transformers by name: their classes, their arguments and what those default to.

This is the only place with these names. Models do not import the engine, so the table is here;
``sparse_mm.engine.hosts`` provides it to the tools.
"""

from typing import Any

# Which backbone of ours replaces which class.
SPARSE_TWINS = {'SwinTransformer': 'SparseViT', 'SwinTransformerV2': 'SparseViTV2'}

# Arguments that only mmpretrain's Swin has: any of them selects its names and semantics.
MMPRETRAIN_ONLY = frozenset(
    {
        *('arch', 'img_size', 'stage_cfgs', 'patch_cfg', 'pad_small_map', 'out_after_downsample'),
        *('interpolate_mode', 'norm_eval'),
    }
)
# Arguments of their own in mmdet and mmseg, and part of ``arch`` in mmpretrain.
INSIDE_ARCH = 'embed_dims', 'depths', 'num_heads'
V2_ONLY = 'pretrained_window_sizes'
DEFAULT_ARCH = 'tiny'

_SIZES = {
    'tiny': dict(embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    'small': dict(embed_dims=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24]),
    'base': dict(embed_dims=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
    'large': dict(embed_dims=192, depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48]),
}
_GREAT_V2 = {
    'huge': dict(embed_dims=352, depths=[2, 2, 18, 2], num_heads=[8, 16, 32, 64]),
    'giant': dict(embed_dims=512, depths=[2, 2, 42, 4], num_heads=[16, 32, 64, 128]),
}
EXTRA_NORM = 'extra_norm_every_n_blocks'
SWIN_ARCHS: dict[str, dict[str, Any]] = _SIZES
SWIN_V2_ARCHS: dict[str, dict[str, Any]] = {
    **{name: {**arch, EXTRA_NORM: 0} for name, arch in _SIZES.items()},
    **{name: {**arch, EXTRA_NORM: 6} for name, arch in _GREAT_V2.items()},
}

# mmpretrain's nested arguments: of a block (in ``stage_cfgs`` and ``block_cfgs``), its attention,
# its FFN and the patch merging. None: derived from the width.
BLOCK: dict[str, Any] = dict(ffn_ratio=4.0, norm_cfg=dict(type='LN'), attn_cfgs={}, ffn_cfgs={})
ATTENTION: dict[str, Any] = dict(qkv_bias=True, qk_scale=None, attn_drop=0.0, proj_drop=0.0)
FFN: dict[str, Any] = dict(feedforward_channels=None, ffn_drop=0.0, act_cfg=dict(type='GELU'))
MERGING: dict[str, Any] = dict(
    kernel_size=2,
    stride=None,
    padding='corner',
    dilation=1,
    bias=False,
    norm_cfg=dict(type='LN'),
    out_channels=None,
    use_post_norm=False,
)
