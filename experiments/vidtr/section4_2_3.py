"""VidTr, section 4.2.3: the I3D networks that VidTr is averaged with."""

from vidmodels.analysis.paper_rows import PaperTable, Row

# The clip of an ensemble's I3D: 8 of 64 frames, as VidTr-S has.
EIGHT = {'clip.frames': 8, 'clip.stride': 8.0}
CHARADES = 'table6:I3D101, Chad'

ROWS = [
  Row(
    name=f'I3D{depth}, 8 frames, {name}',
    recipe=f'i3d:heavy,r{depth},{name.lower()}',
    overrides=EIGHT,
    start=f'table2:I3D{depth}' if name == 'K700' else '',
    # Of multiply-adds of 256 x 256 pixels, at which it is tested.
    reference_gmacs=41.40 if (depth, name) == (50, 'K400') else None,
    differs_from='' if depth == 50 else f'I3D50, 8 frames, {name}',
    differs_in=(
      'model.reach',
      'start' if name == 'K700' else 'init_files',
    ),
  )
  for depth in (50, 101)
  for name in ('K400', 'K600', 'K700')
]

TABLE = PaperTable(
  source='VidTr, section 4.2.3',
  title='the I3D networks of the ensembles',
  rows=tuple(ROWS),
)
