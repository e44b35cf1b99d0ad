"""TimeSformer, Figure 6: accuracy by the number of clips of a test."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

MODELS = {  # clip, and the trained model
  'TimeSformer': ('base', 'table1:Divided Space-Time, K400'),
  'TimeSformer-HR': ('high', 'table3:TimeSformer-HR, ImageNet-21K, K400'),
  'TimeSformer-L': ('long', 'table3:TimeSformer-L, ImageNet-21K, K400'),
}
CLIPS = (1, 3, 5, 10)

ROWS = tuple(
  run(
    f'{model}, {clips} clips',
    f'{clip},k400',
    overrides={'views.temporal': clips, 'views.spatial': 1},
    trained_as=trained,
    differs_from='' if clips == 1 else f'{model}, 1 clips',
    differs_in=('views.temporal',),
    x=clips,
    series=model,
  )
  for model, (clip, trained) in MODELS.items()
  for clips in CLIPS
)

TABLE = PaperTable(
  source='TimeSformer, Figure 6',
  title='accuracy on Kinetics-400 by the number of temporal clips of a test',
  rows=ROWS,
  x_label='temporal clips',
  notes=(
    'The text prints no value of this figure. Every clip has one crop; the '
    "clips lie evenly from a video's beginning to its end, a single one in "
    'the middle. The curves of SlowFast and X3D cannot be had.'
  ),
)
