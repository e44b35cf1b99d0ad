"""k nearest neighbours: how well features tell classes apart, without a head.

  logits_RK = vote(feature_RD, bank_ND, label_N, classes=400)

As DINO does it (arXiv 2104.14294, section 4.2): the K = 20 features of training
videos with the greatest cosine vote for their classes, each with weight
exp(cosine / .07). Features are what the model's head sees. NumPy only.
"""

import numpy as np

NEIGHBOURS = 20
TEMPERATURE = 0.07
_LEAST = 1e-8  # stands for no vote at all, so that scores stay finite
_ROWS = 256  # features compared at once: 240,000 cosines each take 250 MB


def vote(
  feature_RD: np.ndarray,
  bank_ND: np.ndarray,
  label_N: np.ndarray,
  *,
  classes: int,
) -> np.ndarray:
  """The logarithm of each class's share of the votes, float32 [R, K].

  Its softmax gives the shares. A bank of fewer than 20 features votes as a
  whole.
  """
  bank_ND, votes = _unit(bank_ND), []
  k = min(NEIGHBOURS, len(bank_ND))
  for start in range(0, len(feature_RD), _ROWS):
    cosine_RN = _unit(feature_RD[start : start + _ROWS]) @ bank_ND.T
    near = np.argpartition(-cosine_RN, k - 1, axis=1)[:, :k]
    cosine_of_near = np.take_along_axis(cosine_RN, near, axis=1)
    # Less the largest, which changes no share and cannot overflow.
    apart = cosine_of_near - cosine_of_near.max(1, keepdims=True)
    share_RK = np.zeros((len(cosine_RN), classes))
    rows_R1 = np.arange(len(cosine_RN))[:, None]
    np.add.at(share_RK, (rows_R1, label_N[near]), np.exp(apart / TEMPERATURE))
    votes.append(share_RK / share_RK.sum(1, keepdims=True))
  return np.log(np.maximum(np.concatenate(votes), _LEAST)).astype(np.float32)


def _unit(feature_RD: np.ndarray) -> np.ndarray:
  """Rows of length 1; a row of zeros stays one."""
  feature_RD = np.asarray(feature_RD, np.float32)
  length_R1 = np.linalg.norm(feature_RD, axis=1, keepdims=True)
  return feature_RD / np.maximum(length_R1, 1e-12)
