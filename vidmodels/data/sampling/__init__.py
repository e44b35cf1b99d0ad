"""Rules for which frames make a clip, one a file; `rules.py` has them by name.

A rule is two functions of the time stamps of n frames and a recipe's `clip`:

  train(times_n, clip, rng) -> frame numbers, int64 [T], drawn with rng
  view(times_n, clip, view, views) -> the same for a test view; nothing is drawn

Both get at least one frame and a view that exists, and give T numbers from 0 to
n - 1 for any n. Each file says who uses its rule, what is odd about it, and
what a short video gives.
"""
