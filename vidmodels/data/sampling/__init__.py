"""Which frames of a video make a clip: one rule a file; see `key_rules.py`."""
