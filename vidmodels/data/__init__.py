"""From video files to batches of uint8 clips: records, sampling, the stream.

Follow the clip: `prepare` turns videos into `records` inside `shards`, `clips`
and `augment` choose frames and crops, `pipeline` yields batches. Nothing here
imports jax, TensorFlow or torch.
"""
