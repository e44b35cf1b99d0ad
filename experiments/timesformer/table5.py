"""TimeSformer, Table 5: the state of the art on Kinetics-400."""

from typing import Any

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import HIGH, LONG, run

# Model: clip, top-1, top-5, TFLOPs of three views, and the authors' code's
# parameters and multiply-adds of one.
OURS = {
  'TimeSformer': ('base', 78.0, 93.7, 0.59, 121_566_352, 195.8),
  'TimeSformer-HR': ('high', 79.7, 94.4, 5.11, 122_024_080, 1702.7),
  'TimeSformer-L': ('long', 80.7, 94.7, 7.14, 121_633_936, 2379.9),
}
SAME = {
  'TimeSformer': 'table1:Divided Space-Time, K400',
  'TimeSformer-HR': 'table3:TimeSformer-HR, ImageNet-21K, K400',
  'TimeSformer-L': 'table3:TimeSformer-L, ImageNet-21K, K400',
}
DIFFERENT: dict[str, dict[str, Any]] = {'base': {}, 'high': HIGH, 'long': LONG}
# Others: top-1, top-5, TFLOPs of all views; None where the table has none.
OTHERS = {
  'R(2+1)D': (72.0, 90.0, 17.5),
  'bLVNet': (73.5, 91.2, 0.84),
  'TSM': (74.7, None, None),
  'S3D-G': (74.7, 93.4, None),
  'Oct-I3D+NL': (75.7, None, 0.84),
  'D3D': (75.9, None, None),
  'I3D+NL': (77.7, 93.3, 10.8),
  'ip-CSN-152': (77.8, 92.8, 3.2),
  'CorrNet': (79.2, None, 6.7),
  'LGD-3D-101': (79.4, 94.4, None),
  'SlowFast': (79.8, 93.9, 7.0),
  'X3D-XXL': (80.4, 94.6, 5.8),
}

ROWS = [
  Row(
    name=name,
    figures=top(top1, top5),
    gmacs=tflops and tflops * 1000,
    gmacs_from=f'{tflops} TFLOPs of all views, as printed' if tflops else '',
  )
  for name, (top1, top5, tflops) in OTHERS.items()
]
ROWS += [
  run(
    name,
    f'{clip},k400',
    trained_as=SAME[name],
    figures=top(top1, top5),
    gmacs=round(tflops * 1000 / 3, 1),
    gmacs_from=f'{tflops} TFLOPs / 3',
    reference_params=params,
    reference_gmacs=gmacs,
    differs_from='' if clip == 'base' else 'TimeSformer',
    differs_in=tuple(DIFFERENT[clip]),
  )
  for name, (clip, top1, top5, tflops, params, gmacs) in OURS.items()
]

TABLE = PaperTable(
  source='TimeSformer, Table 5',
  title='state of the art on Kinetics-400',
  rows=tuple(ROWS),
)
