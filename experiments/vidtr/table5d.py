"""VidTr, Table 5d: how C-VidTr-S makes fewer frames of many."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import COMPACT_S, UNSAID_COMPACT

# Pool: its name in the recipe, top-1 and top-5.
PRINTED = {
  'Temp. Avg. Pool.': ('average', (74.9, 91.6)),
  '1D Conv.': ('conv', (75.4, 92.3)),
  'STD Pool.': ('top_k', (75.7, 92.2)),
}
BASE = 'STD Pool.'
# These halve the frames each time and read no numbers.
HALVES = {**COMPACT_S, 'model.pool_keep': ()}

ROWS: tuple[Row, ...] = tuple(
  Row(
    name=name,
    recipe='vidtr:compact-s,k400',
    overrides={
      **(COMPACT_S if name == BASE else HALVES),
      'model.pool': pool,
    },
    trained_as='table3:C-VidTr-S' if name == BASE else '',
    figures=top(*figures),
    reference_gmacs=58.93 if name == BASE else None,
    unsaid=UNSAID_COMPACT,
    differs_from='' if name == BASE else BASE,
    differs_in=('model.pool', 'model.pool_keep'),
  )
  for name, (pool, figures) in PRINTED.items()
)

TABLE = PaperTable(
  source='VidTr, Table 5d',
  title='three ways to reduce the number of frames',
  rows=ROWS,
  notes=(
    'All pool in layers 1, 2 and 4 of Table 1. Top-K leaves 6, 4 and 2 of 8 '
    'frames; average and convolution halve them each time (section 3.2.2), to '
    "4, 2 and 1. The released C-VidTr-S's README prints top-5 92.4, this table "
    '92.2.'
  ),
)
