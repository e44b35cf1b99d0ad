"""TimeSformer (arXiv 2102.05095): its tables, which print FLOPs of three views.

Sizes of Table 1 are those of models with SSv2's 174 classes: with the 400 of
Kinetics, whose accuracy is in the same table, the divided model has 121.6
million parameters. Local-global and axial models were never released; layers
that give the printed sizes are all that says how they are made.
"""

from typing import Any

from vidmodels.analysis.published import CountedModel, PaperRow


def _row(
  config: str,
  table: str,
  params_m: str = '',
  gmacs: float | None = None,
  counted: tuple[int | None, float | None] = (None, None),
  *,
  clip: tuple[int, int, int] = (8, 224, 224),
  classes: int = 400,
  **model: Any,
) -> PaperRow:
  """One row; `counted` are the parameters and GMACs of the authors' code."""
  part = CountedModel('timesformer', model, clip, classes)
  source = f'TimeSformer {table}'
  return PaperRow(config, source, (part,), params_m, gmacs, *counted)


def _scheme(attention: str, config: str, *printed: Any) -> PaperRow:
  """A row of Table 1; cost is printed for the divided model alone."""
  return _row(config, *printed, classes=174, attention=attention)


BOTH = 'Table 1; Table 2: 590 / 3'
HIGH, LONG = 'Tables 3, 5-7: 5,110 / 3', 'Tables 3, 5-7: 7,140 / 3'
DIVIDED = (121_392_558, 195.8)
HOWTO = (
  (8, 122_073_123, 195.8),
  (32, 122_091_555, None),
  (64, 122_116_131, 1579.2),
  (96, 122_140_707, 2379.9),
)


def _howto(frames: int, *counted: Any) -> PaperRow:
  """A row of Table 8."""
  name, clip = f'howto100m {frames} frames', (frames, 224, 224)
  return _row(name, 'Table 8', '', None, counted, clip=clip, classes=1059)


# fmt: off
ROWS = (
  _scheme('space', 'space_only 8x224', 'Table 1', '85.9', None,
          (85_932_462, 140.5)),
  _scheme('joint', 'joint_space_time 8x224', 'Table 1', '85.9', None,
          (85_938_606, 179.6)),
  _scheme('divided', 'divided_space_time 8x224', BOTH, '121.4', 196.7, DIVIDED),
  # There is no code to count: 35,453,952 parameters are what an attention step
  # with its norm and a second projection adds to twelve blocks.
  _scheme('local_global', 'sparse_local_global 8x224', 'Table 1', '121.4'),
  _scheme('axial', 'axial 8x224', 'Table 1', '156.8'),
  _row('HR 16x448 divided', HIGH, '', 1703.3, (122_024_080, 1702.7),
       clip=(16, 448, 448)),
  _row('L 96x224 divided', LONG, '', 2380.0, (121_633_936, 2379.9),
       clip=(96, 224, 224)),
  _row('pos_embed none', 'Table 4', positions='none'),
  _row('pos_embed space_only', 'Table 4', positions='space'),
  _row('pos_embed space_time', 'Table 4', '', None, (121_566_352, 195.8)),
  *(_howto(*counted) for counted in HOWTO),
)
# fmt: on
