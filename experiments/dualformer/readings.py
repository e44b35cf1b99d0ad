"""DualFormer: pyramids that its text and Figure 4 describe."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import LABELS_NOTE, TINY, ablation

THREE_SCALES: dict[str, Any] = {
  'model.fine': ((4, 4, 4),) * 3 + ((8, 7, 7),),
  'model.coarse': ((),) * 4,
  'model.coarser': (((2, 2, 2), (1, 1, 1)),) * 3 + ((),),
}

TABLE = PaperTable(
  source='DualFormer, Eq. 3 and Figure 4',
  title='pyramids as the text has them, beside the released one',
  rows=(
    ablation('factorised (Eq. 3)', {'model.factorised': True}, {}, TINY),
    ablation('three scales (Fig. 4)', THREE_SCALES, {}, TINY),
  ),
  notes=(
    'No figure is printed of either. Eq. 3 factorises every convolution of the '
    'pyramid in space and time; the release does not factorise the fine one. '
    'Figure 4 draws scales of 4, 2 and 1 tokens along each axis, here in the '
    f'first three stages. {LABELS_NOTE}'
  ),
)
