"""VidTr as its text says where the release is otherwise."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row
from vidmodels.models.vidtr import AS_WRITTEN

from ._settings import BATCH, COMPACT_S

WRITTEN = {f'model.{name}': value for name, value in AS_WRITTEN.items()}
# C-VidTr keeps both kinds of class tokens, and Eq. 4 has one softmax.
SEPARABLE = {'model.attention': 'separable', 'model.pool_softmax': False}
COMPACT = {**WRITTEN, **SEPARABLE}
EQ_11 = {'model.pool_mean': 'rows'}
# Frames of the whole video at once, in training and in tests.
ONE_PASS = {
  'clip.sampling': 'segment',
  'clip.stride': 1.0,
  'views.temporal': 1,
}
# Reading: word of the recipe, fields of its base, its own, and the base.
READINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
  'VidTr-S as written (sections 3.1 to 3.3)': (
    *('s', BATCH, WRITTEN),
    'table2:VidTr-S',
  ),
  'C-VidTr-S as written (sections 3.1 to 3.3)': (
    *('compact-s', COMPACT_S, COMPACT),
    'table3:C-VidTr-S',
  ),
  'C-VidTr-S as written, the mean of Eq. 11': (
    *('compact-s', {**COMPACT_S, **COMPACT}, EQ_11),
    'C-VidTr-S as written (sections 3.1 to 3.3)',
  ),
  'C-VidTr-S in a single pass (section 3.3)': (
    *('compact-s', COMPACT_S, ONE_PASS),
    'table3:C-VidTr-S',
  ),
}

TABLE = PaperTable(
  source='VidTr, section 3',
  title='other readings of the text',
  rows=tuple(
    Row(
      name=name,
      recipe=f'vidtr:{word},k400',
      overrides={**settings, **fields},
      differs_from=base,
      differs_in=tuple(fields),
      tiny_set='motion',
    )
    for name, (word, settings, fields, base) in READINGS.items()
  ),
  notes=(
    'No table prints these. As written are 8 heads, GELU, projections of time '
    'and of space, positions on tokens, norms before and after the residuals, '
    'and both kinds of class tokens in C-VidTr. Eq. 11 takes the mean of all '
    'rows; the text below it keeps frames whose own row varies. The single '
    'pass samples as TSN does; its figures are in a supplement that the text '
    'at hand lacks.'
  ),
)
