"""From a checkpoint to numbers: view scores, metrics of videos, predictions.

  vidmodels.evaluate.score_split.evaluate(
    restore.load('runs/first'), dir='records', split='test', views=views
  )

Reading order: `score_split` scores every view of a split with a model and keeps
the scores (`score_file`); `averaging` makes one row of scores per video;
`metrics` measures these rows and `bootstrap` draws their intervals;
`accuracy_report` puts both into words, also from saved scores and for several
models (`ensemble`). `side_files` writes the table of classes and the
`submission`. `predict_videos` classifies video files, and `loaded_model` does
it for Python.
"""
