"""Token labelling: what a teacher says, and what it costs not to say it."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels.models.dualformer import TokenHead
from vidmodels.train import losses, token_label
from vidmodels.typing import InputError


def normal(seed: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def files() -> dict:
  """The authors' heads and loss on given features."""
  found = {}
  for folder in golden.folders():
    for path in sorted(folder.rglob('*.npz')):
      if 'student_feature.npy' in golden.read_config(path).get('parts', ()):
        found.setdefault(path.name, path)
  return found


@pytest.mark.parametrize('name', files() or ['none'])
def test_heads_and_loss_are_the_authors(name):
  if name == 'none':
    pytest.skip('no file of token labels is here')
  path = files()[name]
  config, state = golden.read_config(path), golden.read_state(path)
  assert 'set to 0' in config['dropped_logits']
  with np.load(path) as file:
    given = {key: file[key] for key in file.files}
  student, teacher = (
    given[f'{who}_feature'].transpose(0, 2, 3, 4, 1)
    for who in ('student', 'teacher')
  )
  linear = lambda h, key: h @ state[f'{key}.weight'].T + state[f'{key}.bias']
  params = {
    name: {
      'kernel': state[f'cls_head.token_linear.{i}.weight'].T,
      'bias': state[f'cls_head.token_linear.{i}.bias'],
    }
    for name, i in (('up', 0), ('up_again', 3), ('down', 6))
  }
  head = TokenHead(config['num_classes'], 0.5, jnp.float32)
  tokens_BTHWK = head.apply({'params': params}, student, False)
  logits_BK = linear(student.mean((1, 2, 3)), 'cls_head.fc_cls')
  teacher_BTHWK = linear(teacher, 'teacher.cls_head.fc_cls')
  close = lambda got, key: np.testing.assert_allclose(
    got, given[key], atol=1e-5, err_msg=key
  )
  close(tokens_BTHWK, 'token_logits')
  close(logits_BK, 'logits')
  close(teacher_BTHWK, 'teacher_logits')
  fitted = token_label.fit_frames(teacher_BTHWK, tokens_BTHWK.shape[1])
  soft = token_label.soft_labels(fitted, keep=config['topk'])
  close(soft.reshape(given['soft_labels'].shape), 'soft_labels')
  loss = lambda share: token_label.add_token_loss(
    losses.loss_per_clip(logits_BK, given['labels']),
    tokens_BTHWK,
    teacher_BTHWK,
    share=share,
    keep=config['topk'],
  ).mean()
  close(loss(0.0), 'loss_hard')
  close(loss(1.0), 'loss_token')
  close(loss(config['gamma']), 'loss')


def test_all_but_the_highest_logits_are_zero_and_not_gone():
  logits = np.array([[3.0, -1, 2, -4, 1], [0.5, 0.5, 0.5, 0, -9]], np.float32)
  soft = token_label.soft_labels(logits, keep=2)
  kept = np.array([[3.0, 0, 2, 0, 0], [0.5, 0.5, 0.5, 0, 0]])
  np.testing.assert_allclose(soft, jax.nn.softmax(kept), atol=1e-6)
  with pytest.raises(InputError, match='keep 6 of 5 classes'):
    token_label.soft_labels(logits, keep=6)
  with pytest.raises(InputError, match='keep 0 of 5 classes'):
    token_label.soft_labels(logits, keep=0)


def test_a_teachers_frames_are_averaged_with_those_half_a_clip_away():
  tokens = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1, 1)
  half = token_label.fit_frames(tokens, 4)
  np.testing.assert_array_equal(half[0, :, 0, 0, 0], [2, 3, 4, 5])
  np.testing.assert_array_equal(token_label.fit_frames(tokens, 8), tokens)
  for frames in (3, 0, 16):
    with pytest.raises(InputError, match="teacher's 8 frames"):
      token_label.fit_frames(tokens, frames)


def test_the_loss_is_of_each_clip_alone_and_teaches_only_the_student():
  clip, tokens = abs(normal(0, 3)), normal(1, 3, 2, 2, 2, 6)
  teacher = normal(2, 3, 4, 2, 2, 6)
  loss_B = token_label.add_token_loss(clip, tokens, teacher)
  assert (loss_B.shape, loss_B.dtype) == ((3,), jnp.float32)
  for i in range(3):
    one = slice(i, i + 1)
    alone = token_label.add_token_loss(clip[one], tokens[one], teacher[one])
    np.testing.assert_allclose(alone, loss_B[one], atol=1e-6)
  of = lambda *args: token_label.add_token_loss(*args).sum()
  grads = jax.grad(of, argnums=(0, 1, 2))(clip, tokens, teacher)
  np.testing.assert_array_equal(grads[0], 0.5)
  assert abs(grads[1]).min() > 0
  assert not grads[2].any()


def test_a_teacher_of_another_grid_is_refused():
  clip, tokens = normal(0, 2), normal(1, 2, 2, 2, 2, 6)
  for shape in ((2, 2, 4, 2, 6), (2, 2, 2, 2, 7)):
    with pytest.raises(InputError, match='same frames and classes'):
      token_label.add_token_loss(clip, tokens, normal(2, *shape))
