"""Video-FocalNets, Table 4: how the base model is trained, on four sets."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import BASE, UNSAID

MOVED = ('start', 'init_expects', 'init_files', 'data.dir')
# Column: word of the recipe, the run, and in which fields it differs from
# Kinetics-400.
COLUMNS: dict[str, tuple[Any, ...]] = {
  'K400': ('k400', BASE, ()),
  'K600': ('k600', 'table2:Video-FocalNet-B', ('data.dir',)),
  'SSv2': (
    'ssv2',
    'table3:Video-FocalNet-B',
    (*MOVED, 'augment.flip', 'views.temporal'),
  ),
  'Diving48': (
    'diving48',
    'table5:Video-FocalNet-B',
    (*MOVED, 'data.test', 'augment.flip'),
  ),
}

TABLE = PaperTable(
  source='Video-FocalNets, Table 4',
  title='training, whose results Tables 1, 2, 3 and 5 print',
  rows=tuple(
    Row(
      name=name,
      recipe=f'video_focalnet:base,{word},paper',
      start=BASE if 'start' in differs_in else '',
      trained_as=run,
      differs_from='K400' if differs_in else '',
      differs_in=differs_in,
      unsaid=UNSAID,
    )
    for name, (word, run, differs_in) in COLUMNS.items()
  ),
  notes=(
    'The table prints no accuracies: its columns are the runs of Tables 1, 2, '
    '3 and 5, and differ in nothing but data, start, views and mirroring. It '
    'prints a stochastic depth of .1, the release has .2, .3 and .5; a scale '
    'jitter of .75 to 1.33, the text and the release crop .08 to 1 of the '
    'area; mixup with a probability of .5, the release mixes every batch by '
    'mixup or by cutmix.'
  ),
)
