"""VidTr, Table 3: C-VidTr beside other fast networks, on Kinetics-400."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import ATTENTION, COMPACT_M, COMPACT_S, UNKNOWN, UNSAID_COMPACT

# System: GFLOPs a view, top-1.
OTHERS = {
  'TSM': (69, 74.7),
  'TEA': (70, 76.1),
  '3DEff-B4': (7, 72.4),
  'TEINet': (33, 74.9),
  'X3D-M': (5, 74.6),
  'X3D-L': (19, 76.8),
}

ROWS = [
  *(
    Row(name=name, figures=top(top1), gmacs=gmacs)
    for name, (gmacs, top1) in OTHERS.items()
  ),
  Row(
    name='C-VidTr-S',
    recipe='vidtr:compact-s,k400',
    overrides=COMPACT_S,
    figures=top(75.7),
    gmacs=39,
    macs_without=ATTENTION,
    reference_params=87_159_952,
    reference_gmacs=58.93,
    why='39.8 is what the released layers [1,3,5] give, not those printed',
    unsaid=UNSAID_COMPACT,
  ),
  Row(
    name='C-VidTr-M',
    recipe='vidtr:compact-m,k400',
    overrides=COMPACT_M,
    figures=top(76.7),
    gmacs=59,
    macs_without=ATTENTION,
    reference_params=88_364_176,
    reference_gmacs=77.19,
    why=UNKNOWN,
    unsaid=UNSAID_COMPACT,
    differs_from='C-VidTr-S',
    differs_in=(
      *('clip.frames', 'clip.stride'),
      'model.pool_keep',
    ),
  ),
]

TABLE = PaperTable(
  source='VidTr, Table 3',
  title='Kinetics-400: C-VidTr and other fast networks',
  rows=tuple(ROWS),
  notes=(
    "Views and latencies are not compared: a latency is that of the authors' "
    'machine. C-VidTr-M drops 8, 4 and 2 frames, after which 8, 4 and 2 stay. '
    "The network is that of the released code; in the paper's description both "
    'kinds of class tokens stay to the end.'
  ),
)
