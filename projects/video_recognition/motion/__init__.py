"""Clips whose class is a motion, drawn on the fly; importing it registers their data set."""

from projects.video_recognition.motion.dataset import MotionClips

__all__ = ['MotionClips']
