"""X-ViT as its text says where the release is otherwise."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import BEST, run

READINGS: dict[str, dict[str, Any]] = {
  'TA by one query (section 3)': {'model.ta_query': 'final'},
  'TA, linear head (section 3)': {'model.ta_head': 'linear'},
  'channels of every head (Eq. 9)': {'model.mix_layout': 'per_head'},
}

ROWS = tuple(
  run(
    name,
    'ssv2,8',
    overrides=fields,
    differs_from=BEST,
    differs_in=tuple(fields),
    tiny_set='motion',
  )
  for name, fields in READINGS.items()
)

TABLE = PaperTable(
  source='X-ViT, section 3',
  title='other readings of the text',
  rows=ROWS,
  notes='No table prints these.',
)
