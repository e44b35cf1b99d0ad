"""VidTr, Table 5f: C-VidTr that pools at layer 1 and at a later one."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import CUT, SKIPS_ONE, UNKNOWN, pooled

TABLE = PaperTable(
  source='VidTr, Table 5f',
  title='two pools with none to three layers between',
  rows=(
    pooled((1, 2), 73.9, 30, 50.47, why=CUT),
    pooled((1, 3), 74.9, 32, 53.25, why=CUT, trained_as=f'table5e:{SKIPS_ONE}'),
    pooled((1, 4), 75.0, 33, 56.03, why=UNKNOWN),
    pooled((1, 5), 75.2, 34, 58.80, why=UNKNOWN),
  ),
  notes=(
    'As in Table 5e, which has the row [1,3] too. 33 and 34 GFLOPs are less '
    'than these layers need (34.3 and 36.1 without attention).'
  ),
)
