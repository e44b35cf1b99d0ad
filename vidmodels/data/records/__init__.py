"""Records on disk: SequenceExamples in TFRecord shards, with a manifest."""
