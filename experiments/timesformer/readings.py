"""TimeSformer as its text says where the release is otherwise, or at a cost."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import run

DIVIDED = 'table1:Divided Space-Time, SSv2'
SPARSE = 'table1:Sparse Local Global, SSv2'
# Reading: words, fields, the row that it reads otherwise.
READINGS: dict[str, tuple[str, dict[str, Any], str]] = {
  'divided, one class token (Eq. 1)': (
    'base,ssv2',
    {'model.class_copies': False},
    DIVIDED,
  ),
  'divided, patches see the class token in time (Eq. 11)': (
    'base,ssv2',
    {'model.temporal_class_key': True},
    DIVIDED,
  ),
  'divided, head with a hidden layer of 768 (section 3)': (
    'base,ssv2',
    {'model.head_hidden': 768},
    DIVIDED,
  ),
  'local_global by quadrants (Fig. 2)': (
    'base,ssv2,local_global',
    {'model.local': 'quadrant'},
    SPARSE,
  ),
  'local_global 16x448 (Fig. 2)': ('high,ssv2,local_global', {}, ''),
  'joint 16x448 (Eq. 5)': ('high,ssv2,joint', {}, ''),
}

ROWS = tuple(
  run(
    name,
    words,
    overrides=fields,
    differs_from=base,
    differs_in=tuple(fields),
    tiny_set='motion',
  )
  for name, (words, fields, base) in READINGS.items()
)

TABLE = PaperTable(
  source='TimeSformer, section 3',
  title='other readings of the text',
  rows=ROWS,
  notes=(
    'No table prints these. The paper does not say how many units the hidden '
    'layer has; 768 is the width.'
  ),
)
