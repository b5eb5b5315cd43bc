import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.runner.checkpoint import get_state_dict, load_state_dict

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from tests.models.backbones.test_sparse_vit import SMALL, SPARSE, randomize


class TestRatiosInCheckpoints:
    def test_the_key_is_always_there(self):
        dense, sparse = SparseViT(**SMALL), SparseViT(**SMALL, pruning_ratios=SPARSE)
        names = {*SwinTransformer(**SMALL).state_dict(), 'saved_ratios'}
        assert set(dense.state_dict()) == set(sparse.state_dict()) == names

    def test_swins_checkpoints_load_without_a_word(self, capsys):
        model = SparseViT(**SMALL)
        swin = SwinTransformer(**SMALL).state_dict()
        assert model.load_state_dict(swin)
        load_state_dict(model, swin, strict=True)
        assert 'saved_ratios' not in capsys.readouterr().out

    def test_checkpoints_of_the_first_release_load(self):
        state = SparseViT(**SMALL, pruning_ratios=SPARSE).state_dict()
        state['ratio_fractions'] = state.pop('saved_ratios')
        model = SparseViT(**SMALL)
        model.load_state_dict(state)
        assert model.pruning_ratios == SPARSE

    def test_an_override_is_in_force_and_not_saved(self):
        model = SparseViT(**SMALL, pruning_ratios=0.2)
        saved = {name: value.clone() for name, value in model.state_dict().items()}
        model.override_ratios(SPARSE)
        assert model.pruning_ratios == SPARSE
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
        model.override_ratios(None)
        assert model.pruning_ratios[0] == [0.2, 0.2]
        model.override_ratios(0)
        model.set_pruning_ratios(0.2)
        assert model.pruning_ratios[0] == [0.2, 0.2]

    def test_setting_what_is_set_writes_nothing(self):
        model = SparseViT(**SMALL, pruning_ratios=SPARSE)
        version = model.saved_ratios._version
        model.set_pruning_ratios(SPARSE)
        assert model.saved_ratios._version == version

    @pytest.mark.parametrize('save', [lambda m: m.state_dict(), get_state_dict])
    @pytest.mark.parametrize('load', [lambda m, s: m.load_state_dict(s), load_state_dict])
    def test_ratios_travel(self, save, load, capsys):
        state = save(SparseViT(**SMALL, pruning_ratios=SPARSE))
        model = SparseViT(**SMALL)
        load(model, state)
        assert model.pruning_ratios == SPARSE
        dense = SparseViT(**SMALL)
        load(dense, SparseViT(**SMALL).state_dict())
        assert dense.pruning_ratios == [[0, 0], [0, 0], [0, 0, 0], [0]]
        assert 'saved_ratios' not in capsys.readouterr().out

    def test_a_dense_checkpoint_keeps_the_configs_ratios(self):
        model = SparseViT(**SMALL, pruning_ratios=SPARSE)
        model.load_state_dict(SparseViT(**SMALL).state_dict())
        assert model.pruning_ratios == SPARSE

    def test_the_configs_ratios_go_first(self):
        model = SparseViT(**SMALL, pruning_ratios=SPARSE)
        model.load_state_dict(SparseViT(**SMALL, pruning_ratios=0.3).state_dict())
        assert model.pruning_ratios == SPARSE
        assert torch.equal(
            model.saved_ratios, SparseViT(**SMALL, pruning_ratios=SPARSE).saved_ratios
        )

    def test_half_precision_does_not_blur_them(self):
        model = SparseViT(**SMALL, pruning_ratios=0.8).half()
        other = SparseViT(**SMALL)
        other.load_state_dict(model.state_dict())
        assert other.pruning_ratios[0] == [0.8, 0.8]

    def test_an_averaged_model_saves_todays_ratios(self):
        from mmengine.model import ExponentialMovingAverage

        model = SparseViT(**SMALL)
        average = ExponentialMovingAverage(model)
        model.set_pruning_ratios(SPARSE)
        average.update_parameters(model)
        other = SparseViT(**SMALL)
        other.load_state_dict(average.module.state_dict())
        assert other.pruning_ratios == SPARSE
        # And it runs with them.
        image = torch.randn(1, 3, 50, 70)
        model.eval(), average.eval()
        with torch.no_grad():
            for found, expected in zip(average(image), other.eval()(image), strict=True):
                assert torch.equal(found, expected)


class TestPretrained:
    def build(self, path, **settings):
        init_cfg = dict(type='Pretrained', checkpoint=str(path))
        model = SparseViT(**{**SMALL, **settings}, init_cfg=init_cfg)
        model.init_weights()
        return model

    @pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
    def test_swin_checkpoints_load(self, tmp_path, prefix):
        swin = randomize(SwinTransformer(**SMALL))
        state = {prefix + name: value for name, value in swin.state_dict().items()}
        torch.save(dict(state_dict=state, meta=dict(epoch=3)), tmp_path / 'swin.pth')
        model = self.build(tmp_path / 'swin.pth')
        for name, value in swin.state_dict().items():
            assert torch.equal(model.state_dict()[name], value)

    def test_original_swin_checkpoints_are_converted(self, tmp_path):
        # The original names, and its order of the merged patches' channels.
        model = randomize(SparseViT(**SMALL))
        original = {}
        for name, value in model.state_dict().items():
            if name.startswith('norm') or name == 'saved_ratios':
                continue
            name = name.replace('stages', 'layers').replace('attn.w_msa', 'attn')
            name = name.replace('ffn.layers.0.0', 'mlp.fc1').replace('ffn.layers.1', 'mlp.fc2')
            name = name.replace('patch_embed.projection', 'patch_embed.proj')
            if 'downsample' in name:
                parts = value.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]
                value = parts.transpose(-1, -2).flatten(-2)
            original[name] = value
        torch.save(dict(model=original), tmp_path / 'original.pth')
        loaded = self.build(tmp_path / 'original.pth', convert_weights=True)
        for part in ('patch_embed', 'stages'):
            expected = getattr(model, part).state_dict()
            for name, value in getattr(loaded, part).state_dict().items():
                assert torch.equal(value, expected[name]), name

    def test_bias_tables_are_resized_for_another_window(self, tmp_path):
        state = randomize(SwinTransformer(**SMALL)).state_dict()
        torch.save(state, tmp_path / 'swin.pth')
        model = self.build(tmp_path / 'swin.pth', window_size=6)
        table = model.stages[0].blocks[0].attn['w_msa'].relative_position_bias_table
        assert table.shape == (121, 1)
        assert table.std() > 0.01

    def test_bad_checkpoints_are_refused_in_a_sentence(self, tmp_path):
        missing, junk = tmp_path / 'missing.pth', tmp_path / 'junk.pth'
        junk.write_bytes(b'not a checkpoint')
        with pytest.raises(BadInputError, match='does not exist'):
            self.build(missing)
        with pytest.raises(BadInputError, match='truncated or not a PyTorch checkpoint'):
            self.build(junk)
        whole = tmp_path / 'whole.pth'
        torch.save(SparseViT(**SMALL).state_dict(), whole)
        cut = tmp_path / 'cut.pth'
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(BadInputError, match='truncated'):
            self.build(cut)
        with pytest.raises(BadInputError, match=r'projection\.weight \(16, 3, 4, 4\) instead of'):
            self.build(whole, embed_dims=32)
        foreign = tmp_path / 'foreign.pth'
        torch.save({'conv1.weight': torch.zeros(3)}, foreign)
        with pytest.raises(BadInputError, match=r'none of the weights .*conv1.weight'):
            self.build(foreign)
