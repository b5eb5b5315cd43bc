"""Driving scenes in nuScenes' form, drawn on first use; importing it registers their data set."""

from projects.bevdet.driving.dataset import DrivingDataset

__all__ = ['DrivingDataset']
