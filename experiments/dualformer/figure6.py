"""DualFormer, Figure 6: views of a video in the test of the tiny model."""

from collections.abc import Iterator

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import LABELLED

CLIPS, CROPS = (1, 2, 4, 10), (1, 3)
# Data set: its name in recipes, the trained row, its fields, the printed value
# of 4 x 1 views.
SETS = {
  'K400': ('k400', 'table2:DualFormer-T, K400', LABELLED, top(79.5, 94.1)),
  'Diving-48': ('diving48', 'table3:DualFormer-T, Diving-48', {}, top(75.9)),
}


def _rows() -> Iterator[Row]:
  for name, (dataset, trained, fields, known) in SETS.items():
    for crops in CROPS:
      for clips in CLIPS:
        asked = {'views.temporal': clips, 'views.spatial': crops}
        default = {'views.temporal': 4, 'views.spatial': 1}
        differ = [f for f, value in asked.items() if value != default[f]]
        yield Row(
          name=f'{clips}x{crops}, {name}',
          recipe=f'dualformer:tiny,{dataset},paper',
          overrides={**fields, **asked},
          start='' if name == 'K400' else 'table2:DualFormer-T, K400',
          trained_as=trained,
          figures={} if differ else known,
          differs_from=f'4x1, {name}' if differ else '',
          differs_in=tuple(differ),
          x=clips,
          series=f'{name}, {crops} crop' + ('s' if crops > 1 else ''),
        )


TABLE = PaperTable(
  source='DualFormer, Figure 6',
  title='the tiny model tested on more clips and on three crops',
  rows=tuple(_rows()),
  x_label='clips of a video',
  notes=(
    'The values are in a picture, and so are the numbers of clips; these were '
    'chosen. Those of 4 x 1 views are printed in Tables 2 and 3. Crops: one in '
    'the middle, or three along the longer side.'
  ),
)
