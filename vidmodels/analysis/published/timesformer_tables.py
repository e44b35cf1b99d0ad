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
  *,
  clip: tuple[int, int, int] = (8, 224, 224),
  classes: int = 400,
  model: Any = None,
  **printed: Any,
) -> PaperRow:
  part = CountedModel(
    family='timesformer', model=model or {}, clip=clip, classes=classes
  )
  return PaperRow(
    config=config, source=f'TimeSformer {table}', parts=(part,), **printed
  )


def _scheme(config: str, attention: str, **printed: Any) -> PaperRow:
  """A row of Table 1; cost is printed for the divided model alone."""
  return _row(
    config,
    printed.pop('table', 'Table 1'),
    classes=174,
    model={'attention': attention},
    **printed,
  )


ROWS = (
  _scheme(
    'space_only 8x224',
    'space',
    params_m='85.9',
    reference_params=85_932_462,
    reference_gmacs=140.5,
  ),
  _scheme(
    'joint_space_time 8x224',
    'joint',
    params_m='85.9',
    reference_params=85_938_606,
    reference_gmacs=179.6,
  ),
  _scheme(
    'divided_space_time 8x224',
    'divided',
    table='Table 1; Table 2: 590 / 3',
    params_m='121.4',
    gmacs=196.7,
    reference_params=121_392_558,
    reference_gmacs=195.8,
  ),
  # There is no code to count: 35,453,952 parameters are what an attention step
  # with its norm and a second projection adds to twelve blocks.
  _scheme('sparse_local_global 8x224', 'local_global', params_m='121.4'),
  _scheme('axial 8x224', 'axial', params_m='156.8'),
  _row(
    'HR 16x448 divided',
    'Tables 3, 5-7: 5,110 / 3',
    clip=(16, 448, 448),
    gmacs=1703.3,
    reference_params=122_024_080,
    reference_gmacs=1702.7,
  ),
  _row(
    'L 96x224 divided',
    'Tables 3, 5-7: 7,140 / 3',
    clip=(96, 224, 224),
    gmacs=2380.0,
    reference_params=121_633_936,
    reference_gmacs=2379.9,
  ),
  _row('pos_embed none', 'Table 4', model={'positions': 'none'}),
  _row('pos_embed space_only', 'Table 4', model={'positions': 'space'}),
  _row(
    'pos_embed space_time',
    'Table 4',
    reference_params=121_566_352,
    reference_gmacs=195.8,
  ),
  *(
    _row(
      f'howto100m {frames} frames',
      'Table 8',
      clip=(frames, 224, 224),
      classes=1059,
      reference_params=params,
      reference_gmacs=gmacs,
    )
    for frames, params, gmacs in (
      (8, 122_073_123, 195.8),
      (32, 122_091_555, None),
      (64, 122_116_131, 1579.2),
      (96, 122_140_707, 2379.9),
    )
  ),
)
