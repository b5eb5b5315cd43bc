import pytest
import torch
import torch.nn.functional as F

from sparse_mm.models.layers.windows import (
    SEPARATE,
    StageWindows,
    gather_windows,
    make_window_grid,
    rank_windows,
    scatter_windows,
    select_windows,
    token_importance,
    window_grid,
)

CPU = torch.device('cpu')
SIZES = [(14, 21, 7), (9, 16, 7), (5, 5, 7), (12, 30, 12), (8, 6, 4), (3, 5, 1)]


def cut(x, window_size, shift):
    """Pads, rolls and cuts a map (B, H, W, C) into windows, as Swin does."""
    batch, height, width, channels = x.shape
    x = F.pad(x, (0, 0, 0, -width % window_size, 0, -height % window_size))
    x = x.roll((-shift, -shift), (1, 2))
    down, across = x.shape[1] // window_size, x.shape[2] // window_size
    x = x.view(batch, down, window_size, across, window_size, channels).transpose(2, 3)
    return x.reshape(batch, down * across, window_size**2, channels)


@pytest.mark.parametrize('window_size', [1, 2, 7, 12])
def test_no_window_is_all_padding(window_size):
    """So windows of padding alone are never computed, for any size of the map."""
    for height in range(1, 3 * window_size + 2):
        for width in (1, window_size, window_size + 1, 2 * window_size + 3, 30):
            for shift in (0, window_size // 2):
                grid = make_window_grid(height, width, window_size, shift, CPU)
                if grid.padding is not None:
                    assert not grid.padding.all(1).any()


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize(('height', 'width', 'window_size'), SIZES)
def test_gathered_windows_are_those_of_rolling_and_padding(height, width, window_size, shifted):
    shift = window_size // 2 if shifted else 0
    x = torch.randn(2, height, width, 3)
    expected = cut(x, window_size, shift)
    grid = make_window_grid(height, width, window_size, shift, CPU)
    kept = select_windows(grid, None, expected.shape[1], batch=2)
    windows = gather_windows(F.pad(x.flatten(0, 2), (0, 0, 0, 1)), kept)
    torch.testing.assert_close(windows.view_as(expected), expected, rtol=0, atol=0)
    assert (grid.padding is not None) == bool(height % window_size or width % window_size)


@pytest.mark.parametrize(('height', 'width', 'window_size'), SIZES)
def test_masks_separate_tokens_joined_by_the_shift(height, width, window_size):
    shift = window_size // 2
    grid = make_window_grid(height, width, window_size, shift, CPU)
    if not shift:
        assert grid.masks is None
        return
    down, across = -(-height // window_size), -(-width // window_size)
    row = torch.arange(down * window_size)[:, None].expand(-1, across * window_size)
    column = torch.arange(across * window_size)[None].expand(down * window_size, -1)
    place = torch.stack([row, column], dim=-1)[None].float()
    windows = cut(place, window_size, shift)[0]  # (num_windows, N, 2): where each token was
    wrapped = windows < shift  # rolled from the top or left side to the other
    apart = (wrapped[:, :, None] != wrapped[:, None, :]).any(-1)
    masks = grid.masks[grid.mask_kind]
    assert torch.equal(masks == SEPARATE, apart)
    assert torch.equal(masks == 0, ~apart)


def test_importance_is_the_norm_of_mean_magnitudes():
    x = torch.randn(2, 9 * 16, 5)
    grid = make_window_grid(9, 16, 7, 3, CPU)
    magnitude = cut(x.abs().mean(-1).view(2, 9, 16, 1), 7, 3).squeeze(-1)
    expected = magnitude.norm(dim=-1)
    ranking = rank_windows(token_importance(x), grid)
    assert torch.equal(ranking, expected.argsort(dim=1, descending=True, stable=True))


def test_ties_keep_the_order_of_the_windows():
    grid = make_window_grid(21, 21, 7, 0, CPU)
    ranking = rank_windows(torch.ones(3, 21 * 21), grid)
    assert torch.equal(ranking, torch.arange(9).expand(3, 9))


def test_half_precision_maps_are_scored_without_overflow():
    x = torch.full((1, 49, 4), 6e4, dtype=torch.float16)
    importance = token_importance(x)
    assert importance.dtype == torch.float32
    assert torch.isfinite(importance).all()


@pytest.mark.parametrize('shift', [0, 3])
def test_scattering_writes_the_kept_windows_and_nothing_else(shift):
    x = torch.randn(2, 10 * 13, 4)
    grid = make_window_grid(10, 13, 7, shift, CPU)
    ranking = torch.stack([torch.randperm(4), torch.randperm(4)])
    kept = select_windows(grid, ranking, kept=2, batch=2)
    rows = StageWindows((10, 13), 7, 2, CPU).to_rows(x)
    before = rows.clone()
    windows = gather_windows(rows, kept)
    after = scatter_windows(rows, kept, windows + 1)[: 2 * 130].view(2, 130, 4)
    assert torch.equal(rows, before)
    for image in range(2):
        touched = torch.zeros(131, dtype=torch.bool)
        touched[grid.tokens[ranking[image, :2]].flatten()] = True
        touched = touched[:130]
        assert torch.equal(after[image, touched], x[image, touched] + 1)
        assert torch.equal(after[image, ~touched], x[image, ~touched])


def test_grids_are_built_once_and_usable_in_training_after_inference():
    with torch.inference_mode():
        grid = window_grid(20, 22, 7, 3, CPU)
    assert window_grid(20, 22, 7, 3, CPU) is grid
    rows = torch.randn(441, 4, requires_grad=True)
    kept = select_windows(grid, None, 3, batch=1)
    gather_windows(rows * 1, kept).sum().backward()
    assert rows.grad is not None
