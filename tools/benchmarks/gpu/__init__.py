"""The sections of ``tools/gpu_check.py``: one file for each subject."""
