"""Published data sets, one file each: official annotation files to rows.

A module here that defines `DATASETS` adds its data sets to the registry;
`dataset.py` says what a data set is.
"""
