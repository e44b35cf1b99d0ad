"""How files of each family are recognised, one file a family.

A file here defines `NAMINGS`, and where they apply `SOURCES` (image families
that the family can start from) and `HEAD` (a regex of our paths of its
classifier). See `weights/mapping/identify.py`.
"""
