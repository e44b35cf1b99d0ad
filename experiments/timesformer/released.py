"""TimeSformer as released: the README of facebookresearch/TimeSformer."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

FLOAT32 = {'dtype': 'float32'}
# Data set: name of the model, words, top-1 and top-5.
PRINTED = {
  'K400': (
    ('TimeSformer', 'base,k400', (77.9, 93.2)),
    ('TimeSformer-HR', 'high,k400', (79.6, 94.0)),
    ('TimeSformer-L', 'long,k400', (80.6, 94.7)),
  ),
  'K600': (
    ('TimeSformer', 'base,k600', (79.1, 94.4)),
    ('TimeSformer-HR', 'high,k600', (81.8, 95.8)),
    ('TimeSformer-L', 'long,k600', (82.2, 95.6)),
  ),
  'SSv2': (
    ('TimeSformer', 'base,ssv2', (59.1, 85.6)),
    ('TimeSformer-HR', 'high,ssv2', (61.8, 86.9)),
    ('TimeSformer-L', 'long,ssv2', (62.0, 87.5)),
  ),
}
HOWTO100M = {  # frames: words of the clip, top-1
  8: ('base', 56.8),
  32: ('32x32', 61.2),
  64: ('64x32', 62.2),
  96: ('96x32', 62.6),
}
SPLIT = 'The split of the videos was not published, and some are gone.'

ROWS = [
  Row(
    name=f'{name}, {dataset}',
    recipe=f'timesformer:{words}',
    overrides=FLOAT32,
    figures=top(*figures),
    unsaid=('init_expects', 'init_files'),
  )
  for dataset, models in PRINTED.items()
  for name, words, figures in models
]
ROWS += [
  Row(
    name=f'TimeSformer, HowTo100M, {frames} frames',
    recipe=f'timesformer:{clip},howto100m',
    approximate=('views.temporal',),
    start='released:TimeSformer, K400',
    overrides=FLOAT32,
    figures=top(top1),
    classes=1059,
    missing=SPLIT,
  )
  for frames, (clip, top1) in HOWTO100M.items()
]

TABLE = PaperTable(
  source='TimeSformer, README',
  title='released weights of TimeSformer',
  origin='release',
  rows=tuple(ROWS),
  notes=(
    'The README does not say which weights the runs started from; the default '
    'of the code is jx_vit_base_p16_224-80ecf9dd.pth. It prints 448 pixels for '
    "HowTo100M's 64 frames, whose file is named 64x32_224. Its figures of "
    "HowTo100M are the paper's."
  ),
)
