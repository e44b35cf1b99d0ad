"""TimeSformer, Figure 5, left: accuracy by the size of the crop."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

BASE = 224
SIZES = (BASE, 336, 448, 560)
ONE_CROP = {'views.spatial': 1}

ROWS = tuple(
  run(
    f'{size} pixels',
    'base,k400',
    overrides={'clip.size': size, **ONE_CROP},
    trained_as='table1:Divided Space-Time, K400' if size == BASE else '',
    differs_from='' if size == BASE else f'{BASE} pixels',
    differs_in=('clip.size', 'augment.short_side'),
    x=size,
    tiny_set='textures',
  )
  for size in SIZES
)

TABLE = PaperTable(
  source='TimeSformer, Figure 5 (left)',
  title='clip-level accuracy on Kinetics-400 by the size of the crop',
  rows=ROWS,
  x_label='side of the crop, pixels',
  notes=(
    'The text prints no value of this figure; the four sizes are chosen here. '
    'Clip-level is read as one view: a crop of the middle of one clip. '
    'Training crops are cut from frames that grow with them.'
  ),
)
