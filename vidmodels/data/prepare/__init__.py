"""Turns listed videos into records: jobs, processes, Beam, TFDS, reports."""
