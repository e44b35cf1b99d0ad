"""Weights from elsewhere into our parameters, with nothing left over.

`rules` is the engine, which knows no model; one file a family says what the
authors call each tensor and how it lies.
"""
