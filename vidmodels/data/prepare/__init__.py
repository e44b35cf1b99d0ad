"""Rows to records: shard jobs, resuming, processes, Beam, TFDS, reports."""
