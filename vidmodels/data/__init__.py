"""From video files to batches of uint8 clips: records, sampling, the stream.

`video` reads files, `datasets` and `listing` say which videos have which label,
`prepare` writes `records`; `sampling` and `augment` choose frames and crops,
`stream` yields batches. Nothing here imports jax, TensorFlow or torch.
"""
