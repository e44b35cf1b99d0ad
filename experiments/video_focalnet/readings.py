"""Video-FocalNets: modulation as the text and Algorithm 1 have it."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import UNSAID

READINGS: dict[str, dict[str, Any]] = {
  'point-wise over time (Eq. 6)': {'model.temporal_conv': 'pointwise'},
  'depthwise over time (Algorithm 1)': {'model.temporal_conv': 'depthwise'},
  'no GELU on the global context (Eq. 7)': {'model.context_gelu': False},
  'temporal gates a frame (Eq. 8)': {'model.frame_gates': True},
}

TABLE = PaperTable(
  source='Video-FocalNets, Eqs. 6 to 8 and Algorithm 1',
  title='modulation as the text has it, beside the released one',
  rows=tuple(
    Row(
      name=name,
      recipe='video_focalnet:tiny,k400,paper',
      overrides=changes,
      differs_from='table1:Video-FocalNet-T',
      differs_in=tuple(changes),
      unsaid=UNSAID,
      tiny_set='motion',
    )
    for name, changes in READINGS.items()
  ),
  notes=(
    'No figure is printed of these: the printed costs of the tiny and the '
    'small model are those of dense convolutions over time. Algorithm 1 also '
    'gates the temporal global context with the spatial gate, against Eq. 8; '
    'that is not here.'
  ),
)
