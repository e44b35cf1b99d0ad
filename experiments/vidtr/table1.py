"""VidTr, Table 1: frames, rates and pooled layers of its five sizes."""

from vidmodels.analysis.paper_rows import PaperTable, Row

from ._settings import BATCH, COMPACT_M, COMPACT_S, UNSAID, UNSAID_COMPACT

# Model: words of the recipe, fields of the paper, and the row of its accuracy.
MODELS = {
  'VidTr-S': ('s', BATCH, 'table2:VidTr-S'),
  'VidTr-M': ('m', {}, 'table2:VidTr-M'),
  'VidTr-L': ('l', {}, 'table2:VidTr-L'),
  'C-VidTr-S': ('compact-s', COMPACT_S, 'table3:C-VidTr-S'),
  'C-VidTr-M': ('compact-m', COMPACT_M, 'table3:C-VidTr-M'),
}

TABLE = PaperTable(
  source='VidTr, Table 1',
  title='clips and pooled layers of the five sizes',
  rows=tuple(
    Row(
      name=name,
      recipe=f'vidtr:{word},k400',
      overrides=fields,
      trained_as=same,
      unsaid=UNSAID_COMPACT if word.startswith('compact') else UNSAID,
    )
    for name, (word, fields, same) in MODELS.items()
  ),
  notes=(
    'The table prints no accuracy; the rows are the runs of Tables 2 and 3. '
    'Its tau is the number of frames that stay after each pool. The released '
    'C-VidTr-S pools in layers 1, 3 and 5.'
  ),
)
