"""Is Space-Time Attention All You Need for Video Understanding? 2102.05095."""
