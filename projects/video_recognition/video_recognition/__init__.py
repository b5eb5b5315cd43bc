"""Action recognition in clips; importing it registers the modules below."""

from projects.video_recognition.video_recognition.decoding import BrokenVideoError, DecodeClips
from projects.video_recognition.video_recognition.kinetics import KineticsDataset
from projects.video_recognition.video_recognition.metric import ClipAccuracy
from projects.video_recognition.video_recognition.recognizer import ClipPreprocessor, ClipRecognizer
from projects.video_recognition.video_recognition.transforms import (
    CropClips,
    FlipClips,
    PackClips,
    RandomResizedCropClips,
    ResizeClips,
    TakeFrame,
)

__all__ = [
    'BrokenVideoError',
    'ClipAccuracy',
    'ClipPreprocessor',
    'ClipRecognizer',
    'CropClips',
    'DecodeClips',
    'FlipClips',
    'KineticsDataset',
    'PackClips',
    'RandomResizedCropClips',
    'ResizeClips',
    'TakeFrame',
]
