"""TimeSformer, Table 4: which positions are learned."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import run

# Positions: word of the recipe, top-1 by data set.
PRINTED = {
  'None': ('no_pos', {'K400': 75.4, 'SSv2': 45.8}),
  'Space-only': ('space_pos', {'K400': 77.8, 'SSv2': 52.5}),
  'Space-Time': ('all_pos', {'K400': 78.0, 'SSv2': 59.5}),
}
# Of the authors' code: parameters with 400 classes, multiply-adds.
COUNTED: dict[str, Any] = {
  'reference_params': 121_566_352,
  'reference_gmacs': 195.8,
}

ROWS = tuple(
  run(
    f'{name}, {dataset}',
    f'base,{dataset.lower()},{word}',
    trained_as=(
      f'table1:Divided Space-Time, {dataset}' if name == 'Space-Time' else ''
    ),
    figures=top(top1),
    differs_from='' if name == 'Space-Time' else f'Space-Time, {dataset}',
    differs_in=('model.positions',),
    tiny_set='motion',
    **(COUNTED if (name, dataset) == ('Space-Time', 'K400') else {}),
  )
  for name, (word, figures) in PRINTED.items()
  for dataset, top1 in figures.items()
)

TABLE = PaperTable(
  source='TimeSformer, Table 4',
  title='positional embeddings of space and time',
  rows=ROWS,
)
