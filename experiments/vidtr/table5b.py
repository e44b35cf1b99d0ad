"""VidTr, Table 5b: along which axes attention is factorised."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import BATCH, NETWORK, UNSAID

# Factorisation: word of the recipe, the same run in another table, top-1, and
# what the authors' code needs where it has the scheme.
PRINTED: dict[str, tuple[str, str, float, float | None]] = {
  'WH': ('space', '', 74.7, None),
  'WHT': ('vanilla', 'table2:Vanilla-Tr', 77.5, 179.56),
  'WH + T': ('released', 'table2:VidTr-S', 77.7, 158.25),
  'W + H + T': ('axial', '', 72.3, None),
}
BASE = 'WH + T'

TABLE = PaperTable(
  source='VidTr, Table 5b',
  title='factorisations of attention over width, height and time',
  rows=tuple(
    Row(
      name=name,
      recipe=f'vidtr:s,k400,{word}',
      overrides=BATCH,
      trained_as=same,
      figures=top(top1),
      reference_gmacs=counted,
      unsaid=UNSAID,
      differs_from='' if name == BASE else BASE,
      differs_in=('model.attention',),
    )
    for name, (word, same, top1, counted) in PRINTED.items()
  ),
  notes=(
    f'{NETWORK} Of WH the class tokens of all frames are averaged (section '
    '4.2.4). Of W + H + T only the name is given: attention over time, then '
    'rows, then columns, with a class token on every axis. The memory that the '
    'table prints (2.1, 7.6, 2.3 and 1.5 GB) is not compared.'
  ),
)
