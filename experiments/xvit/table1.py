"""X-ViT, Table 1: the window of frames that mix, without temporal attention."""

from vidmodels.analysis.paper_rows import PaperTable, top

from ._settings import AVERAGED, run

PRINTED = {  # fields, top-1, top-5
  't_w = 0': ({'model.mix_window': 0}, 45.2, 71.4),
  't_w = 1': ({}, 62.5, 87.8),
  't_w = 2': ({'model.mix_window': 2}, 60.5, 86.4),
  't_w = 2 (Bo.)': (
    {'model.mix_window': 2, 'model.mix_boundary': True},
    60.4,
    86.2,
  ),
}

ROWS = tuple(
  run(
    name,
    'ssv2,8,average',
    overrides=fields,
    figures=top(*figures),
    differs_from='' if name == 't_w = 1' else 't_w = 1',
    differs_in=tuple(fields),
    tiny_set='motion',
    **AVERAGED,
  )
  for name, (fields, *figures) in PRINTED.items()
)

TABLE = PaperTable(
  source='X-ViT, Table 1',
  title='the window of frames that mix, averaging frames',
  rows=ROWS,
  notes=(
    'The paper does not say how many channels each frame of a window of two '
    'gives: here all four give the same number. The run of t_w = 1 has 62.5 '
    'here, 62.6 in Table 2a, 62.4 in Tables 2b and 3; runs vary by 0.4.'
  ),
)
