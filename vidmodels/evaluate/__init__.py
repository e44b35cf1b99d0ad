"""From a checkpoint to numbers: scores of views, accuracy of videos, answers.

Reading order: `run` scores a split with a model and keeps every view's scores
(`scored`, in `score_files`); `averaging` makes one row a video of them,
`measures` counts (with `ranks` and `bootstrap`), `report` says what was
counted; `results` does all of that from saved scores, of several models too
(`ensemble`); `extras` writes the table of classes (`per_class`) and the
`submission`, each in its place (`places`). `predict` answers for video files.
"""
