"""Video files to frames, by PyAV: exact frames, true times, no second file."""
