"""Readings of the papers that no table prints a cost of, beside the default.

Most are options by which a model is as its paper says and not as it was
released; docs/models.md lists them. Sparse attention is here at two sizes, next
to what it approximates.
"""

from typing import Any

from vidmodels.analysis.published import CountedModel, PaperRow
from vidmodels.models.vidtr import AS_WRITTEN

HIGH = (16, 448, 448)
# Fig. 4 of DualFormer in its first three stages.
THREE_SCALES: dict[str, Any] = dict(
  fine=((4, 4, 4),) * 3 + ((8, 7, 7),),
  coarse=((),) * 4,
  coarser=(((2, 2, 2), (1, 1, 1)),) * 3 + ((),),
)


def _row(
  config: str,
  family: str,
  source: str,
  *,
  clip: tuple[int, int, int] = (8, 224, 224),
  classes: int = 400,
  **model: Any,
) -> PaperRow:
  """One row, of a configuration without printed figures."""
  part = CountedModel(family, model, clip, classes)
  return PaperRow(f'{family} {config}', source, (part,))


def _timesformer(config: str, source: str, **more: Any) -> PaperRow:
  return _row(config, 'timesformer', source, classes=174, **more)


def _dualformer(config: str, source: str, **model: Any) -> PaperRow:
  clip = (32, 224, 224)
  return _row(f'T 32x2, {config}', 'dualformer', source, clip=clip, **model)


ROWS = (
  _timesformer('divided, one class token', 'Eq. 1', class_copies=False),
  _timesformer('divided, hidden layer of 768', 'section 3', head_hidden=768),
  _timesformer(
    'local_global by quadrants',
    'Fig. 2',
    attention='local_global',
    local='quadrant',
  ),
  _timesformer(
    'local_global 16x448', 'Fig. 2', clip=HIGH, attention='local_global'
  ),
  _timesformer('joint 16x448', 'Eq. 5', clip=HIGH, attention='joint'),
  _row('TA by one query', 'xvit', 'section 3.2', classes=174, ta_query='final'),
  _row('TA, linear head', 'xvit', 'section 3.2', classes=174, ta_head='linear'),
  _row('T, Eq. 6', 'video_focalnet', 'Eq. 6', temporal_conv='pointwise'),
  _row(
    'T, Algorithm 1',
    'video_focalnet',
    'Algorithm 1',
    temporal_conv='depthwise',
  ),
  _dualformer('factorised', 'Eq. 3', factorised=True),
  _dualformer('three scales', 'Fig. 4', **THREE_SCALES),
  _row('S as written', 'vidtr', 'sections 3.1 to 3.3', **AS_WRITTEN),
)
