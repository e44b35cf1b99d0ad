"""Video-FocalNets, Figure 7: fusion of the modulators, patches or tubelets."""

from vidmodels.analysis.paper_rows import PaperTable

from ._settings import ablation

MULTIPLICATION = '(a) multiplication'
TUBELET = {'model.tubelet': 2, 'clip.frames': 16}

TABLE = PaperTable(
  source='Video-FocalNets, Figure 7',
  title='fusion of the two modulators, and patches of one or two frames',
  rows=(
    ablation('(a) average', {'model.fusion': 'average'}, MULTIPLICATION),
    ablation('(a) projection', {'model.fusion': 'projection'}, MULTIPLICATION),
    ablation(MULTIPLICATION, {}, MULTIPLICATION),
    ablation('(b) patch', {}, '(b) patch'),
    ablation('(b) tubelet', TUBELET, '(b) patch', reference_gmacs=124.44),
  ),
  notes=(
    'The values are in a picture; that of multiplication and of patches is '
    'printed in Table 1. Tubelets of two frames see 16, which leaves as many '
    'tokens. The release has multiplication alone; averaging is half the sum '
    'of both modulators, projection a linear layer from both to the width.'
  ),
)
