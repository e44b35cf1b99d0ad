"""TimeSformer, Table 3: ImageNet-1K against ImageNet-21K."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import IN_1K, IN_21K, PRETRAINING, run

STARTS = {'ImageNet-1K': IN_1K, 'ImageNet-21K': IN_21K}
# Model and data set: clip, top-1 from ImageNet-1K and ImageNet-21K.
PRINTED = {
  ('TimeSformer', 'K400'): ('base', 75.8, 78.0),
  ('TimeSformer', 'SSv2'): ('base', 59.5, 59.5),
  ('TimeSformer-HR', 'K400'): ('high', 77.8, 79.7),
  ('TimeSformer-HR', 'SSv2'): ('high', 62.2, 62.5),
  ('TimeSformer-L', 'K400'): ('long', 78.1, 80.7),
  ('TimeSformer-L', 'SSv2'): ('long', 62.4, 62.3),
}
# Runs that earlier tables print too.
SAME = {
  'TimeSformer, ImageNet-1K, K400': 'table2:TimeSformer, ImageNet-1K',
  'TimeSformer, ImageNet-21K, K400': 'table1:Divided Space-Time, K400',
  'TimeSformer, ImageNet-21K, SSv2': 'table1:Divided Space-Time, SSv2',
}

ROWS = tuple(
  run(
    f'{model}, {start}, {dataset}',
    f'{clip},{dataset.lower()}',
    start=STARTS[start],
    trained_as=SAME.get(f'{model}, {start}, {dataset}', ''),
    figures=top(top1),
    differs_from=base and f'{model}, {base}, {dataset}',
    differs_in=PRETRAINING,
  )
  for (model, dataset), (clip, *both) in PRINTED.items()
  for start, top1, base in zip(STARTS, both, ('', 'ImageNet-1K'), strict=True)
)

TABLE = PaperTable(
  source='TimeSformer, Table 3',
  title='pretraining on ImageNet-1K and ImageNet-21K',
  rows=ROWS,
)
