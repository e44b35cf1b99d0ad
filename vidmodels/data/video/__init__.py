"""Reads video files with PyAV: exact frames, true times, one file each."""
