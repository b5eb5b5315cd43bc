"""Latent tokens paint what they know into their RoIs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.models.layers.roi_attention import SMALLEST


def tents(low: Tensor, high: Tensor, count: int, length: int) -> Tensor:
    """Weights of a patch's cells at the places of a map, along one axis.

    Args:
        low: ``(B, N)``, where each patch begins, relative to the image.
        high: ``(B, N)``, where it ends.
        count: Cells ``G`` of a patch.
        length: Places ``L`` of the map.

    Returns:
        ``(B, N, L, G)``: bilinear interpolation inside the patch, fading out over half a cell
        around it.
    """
    places = (torch.arange(length, device=low.device) + 0.5) / length
    size = (high - low).abs().clamp(min=SMALLEST)
    position = (places - low.unsqueeze(-1)) / size.unsqueeze(-1) * count - 0.5  # (B, N, L)
    cells = torch.arange(count, device=low.device)
    return (1 - (position.unsqueeze(-1) - cells).abs()).clamp(min=0)


class RoISplat(nn.Module):
    """Each token decodes a small patch of features, which is laid into its RoI.

    Where patches overlap they are averaged, by a confidence that each token states, its density
    (confidence over area, so that the closer look counts more), and one silent rival. The
    cost is linear in tokens × places: the patch is separable, so that each row of the map is one
    matrix product.

    Args:
        token_dim: Channels of a token.
        dim: Channels of the answers.
        cells: Cells of a patch along each side.
    """

    def __init__(self, token_dim: int, dim: int, cells: int = 4) -> None:
        super().__init__()
        self.cells = cells
        self.patch = nn.Linear(token_dim, cells * cells * dim)
        self.confidence = nn.Linear(token_dim, 1)
        self.proj = nn.Linear(dim, dim)

    def forward(self, places: Tensor, tokens: Tensor, rois: Tensor) -> Tensor:
        """Paints.

        Args:
            places: ``(B, H, W, place_dim)``; only the size is read.
            tokens: ``(B, N, token_dim)``.
            rois: ``(B, N, 4)``, (x1, y1, x2, y2) relative to the image.

        Returns:
            The canvas, ``(B, H, W, dim)``.
        """
        height, width = places.shape[1:3]
        patches = self.patch(tokens).unflatten(-1, (self.cells, self.cells, -1))
        x1, y1, x2, y2 = rois.float().unbind(-1)
        area = ((x2 - x1) * (y2 - y1)).abs().clamp(min=SMALLEST**2)
        confidence = F.softplus(self.confidence(tokens).float().squeeze(-1)) / area  # (B, N)
        rows = tents(y1, y2, self.cells, height) * confidence[..., None, None]  # (B, N, H, G)
        columns = tents(x1, x2, self.cells, width)  # (B, N, W, G)
        # (B, H, N, G, dim): each token's patch, cut along each row of the map.
        cut = torch.einsum('bnhi,bnijd->bhnjd', rows.to(patches.dtype), patches)
        canvas = torch.einsum('bnwj,bhnjd->bhwd', columns.to(cut.dtype), cut)
        total = torch.einsum('bnh,bnw->bhw', rows.sum(-1), columns.sum(-1))
        return self.proj(canvas / (1 + total).unsqueeze(-1).to(canvas.dtype))
