"""VidTr, Table 5e: C-VidTr that pools at layers k and k + 2."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import CUT, pooled

TABLE = PaperTable(
  source='VidTr, Table 5e',
  title='two pools with one layer between, early to late',
  rows=(
    pooled((0, 2), 72.9, 26, 44.68, why=CUT),
    pooled((1, 3), 74.9, 32, 53.25, why=CUT),
    pooled(
      *((2, 4), 74.9, 47, 61.83),
      why='perhaps a misprint of 37, which is what these layers give',
    ),
    pooled((6, 8), 75.3, 60, 96.13),
  ),
  notes=(
    'Layers count from 0; 4 and then 2 of 8 frames stay. After the last pool '
    'attention is joint, as released, which the GFLOPs agree with.'
  ),
)
