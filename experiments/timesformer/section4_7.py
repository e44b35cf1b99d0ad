"""TimeSformer, section 4.7: other sizes, patches and orders of attention."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import FILES, IN_21K, run

BASE = {'K400': 78.0, 'SSv2': 59.5}  # of Table 1, divided attention
# What is printed: words of the recipe, points below the base, fields.
SIZE = ('model.width', 'model.heads', 'init_files')
PRINTED: dict[str, tuple[str, float, tuple[str, ...]]] = {
  'ViT-L, 1% worse': ('l16', 1.0, (*SIZE, 'model.layers')),
  'ViT-S, about 5% worse': ('s16', 5.0, SIZE),
  'P = 32, about 3% worse': ('b32', 3.0, ('model.patch', 'init_files')),
  'space first, 0.5% lower': ('space_time', 0.5, ('model.attention',)),
  'parallel, 0.4% lower': ('parallel', 0.4, ('model.attention',)),
}
LETTERS = {'l16': 'L_16', 's16': 'S_16', 'b32': 'B_32'}


def _file(word: str) -> dict[str, Any]:
  """The file that a model of another size starts from."""
  if word not in LETTERS:
    return {}
  return {'init_files': FILES[IN_21K].replace('B_16', LETTERS[word])}


ROWS = tuple(
  run(
    f'{name}, {dataset}',
    f'base,{dataset.lower()},{word}',
    overrides=_file(word),
    figures=top(round(base - below, 1)),
    figures_from=f'{base:g} of Table 1 less {below:g}, by the text',
    differs_from=f'table1:Divided Space-Time, {dataset}',
    differs_in=fields,
  )
  for name, (word, below, fields) in PRINTED.items()
  for dataset, base in BASE.items()
)

TABLE = PaperTable(
  source='TimeSformer, section 4.7',
  title='smaller and larger models, larger patches, other orders',
  rows=ROWS,
  notes=(
    'The section prints differences to the model of Table 1, in words; the '
    "figures here are that table's less these, so those of "
    '"about" are good to a point. Of the patch and of parallel attention it '
    'does not name the data set; both have a row.'
  ),
)
