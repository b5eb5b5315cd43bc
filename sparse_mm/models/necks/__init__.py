from sparse_mm.models.necks.latent_to_pyramid import LatentToPyramid

__all__ = ['LatentToPyramid']
