"""Records to batches: (seed, step) decides every example and every draw."""
