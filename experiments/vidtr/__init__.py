"""VidTr: Video Transformer Without Convolutions, 2104.11746."""
