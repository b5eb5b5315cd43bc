"""Driving scenes in the format of nuScenes, drawn on first use; importing it registers their data
set."""

from projects.bevdet.driving.dataset import DrivingDataset

__all__ = ['DrivingDataset']
