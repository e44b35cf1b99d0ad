"""Between our records and other libraries, where those are installed.

`tfds` reads TensorFlow Datasets' video sets for `prepare`; `dmvr` lets DMVR's
factories read our shards. Both import their library when they are called.
"""
