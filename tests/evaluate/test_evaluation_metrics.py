"""Metrics by hand, against slow counts of the same thing, and in subsets."""

import collections
import json
import re
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scoring
import stranger_metric
from scoring import ANY, MULTI, VERB_NOUN

from vidmodels.cli import main
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.evaluate import averaging, metrics
from vidmodels.evaluate.metrics import hit_k, mean_ap, top_k
from vidmodels.train import average_precision
from vidmodels.train.metrics import accuracies


def values(answers) -> dict[str, float]:
  return metrics.metric_values(
    metrics.prepare_metrics(answers), len(answers.videos)
  )


def test_one_class_a_video_by_hand():
  # Ranks of the right class: 0, 1, 0, 5 (behind five), 4.
  scores = [
    [9, 1, 2, 3, 4, 5],
    [9, 8, 2, 3, 4, 5],
    [0, 1, 2, 3, 4, 5],
    [0, 1, 2, 3, 4, 5],
    [9, 1, 2, 3, 4, 5],
  ]
  found = values(scoring.video_scores(scores, [(0,), (1,), (5,), (0,), (2,)]))
  assert found == pytest.approx({
    'top1': 2 / 5,
    'top5': 4 / 5,
    # Class 0: 1 of 2; 1: 0; 5: 1; 2: 0; 3 and 4 have no video.
    'mean_class': (0.5 + 0 + 1 + 0) / 4,
  })  # fmt: skip


def test_a_constant_answer_is_never_right():
  found = values(
    scoring.video_scores(np.zeros((4, 8)), [(k,) for k in range(4)])
  )
  assert found == {'top1': 0, 'top5': 0, 'mean_class': 0}


def test_classes_without_videos_are_told_and_not_in_the_mean():
  answers = scoring.video_scores(np.eye(4)[[0, 2]], [(0,), (2,)])
  assert metrics.missing_classes(answers) == {'': ['c1', 'c3']}
  assert values(answers)['mean_class'] == 1
  heads = scoring.video_scores(np.ones((1, 7)), [(1, 5)], VERB_NOUN)
  assert metrics.missing_classes(heads) == {
    'verb': ['verb/c0', 'verb/c2'],
    'noun': ['noun/c0', 'noun/c1', 'noun/c3'],
  }
  many = scoring.video_scores(np.ones((2, 3)), [(), (1,)], MULTI)
  assert metrics.missing_classes(many) == {'': ['c0', 'c2']}


def test_an_action_is_right_if_all_its_heads_are():
  verb_only, noun_only, both = (
    [5, 0, 0, 0, 0, 0, 5],
    [0, 0, 5, 0, 5, 0, 0],
    [5, 0, 0, 0, 5, 0, 0],
  )
  answers = scoring.video_scores(
    [verb_only, noun_only, both], [(0, 4)] * 3, VERB_NOUN
  )
  found = values(answers)
  assert found['verb_top1'] == found['noun_top1'] == pytest.approx(2 / 3)
  assert found['action_top1'] == pytest.approx(1 / 3)


def test_the_best_actions_are_those_with_the_highest_products():
  """Verbs .5 .3 .2; nouns .6 .2 .15 .05: the fifth product is .2 x .6 = .12."""
  verb, noun = np.log([0.5, 0.3, 0.2]), np.log([0.6, 0.2, 0.15, 0.05])
  # .30 .18 .12 .10 .075 | .06 ...: verb 2 with noun 0 is third, verb 0 with
  # noun 2 fifth, verb 1 with noun 1 (.06) sixth.
  scores = [[*(verb + 3), *(noun - 8)]] * 3  # a head's offset is nothing
  answers = scoring.video_scores(scores, [(2, 3), (0, 5), (1, 4)], VERB_NOUN)
  parts = list(VERB_NOUN.parts(7).values())
  log_RK = answers.log_probabilities()
  rank = top_k.joint_rank(
    [log_RK[:, part] for part in parts],
    [answers.label_Rx[:, i] - part.start for i, part in enumerate(parts)],
  )
  assert rank.tolist() == [2, 4, 5]
  found = values(answers)
  assert found['action_top5'] == pytest.approx(2 / 3)
  assert found['action_top1'] == 0
  assert found['verb_top5'] == 1


def slow_action_rank(prob_K, label, parts) -> int:
  verbs, nouns = (prob_K[part] for part in parts)
  products = [(v * n, i, j) for i, v in enumerate(verbs)
              for j, n in enumerate(nouns)]  # fmt: skip
  i, j = (k - part.start for k, part in zip(label, parts, strict=True))
  own = verbs[i] * nouns[j]
  return sum(p >= own * (1 - 1e-12) for p, *_ in products) - 1


@pytest.mark.parametrize('how', ['logits', 'probs'])
@pytest.mark.parametrize('block', [2**21, 100])
def test_actions_agree_with_a_slow_count(monkeypatch, how, block):
  monkeypatch.setattr(top_k, '_BLOCK', block)
  task = Task(heads=(('verb', 9), ('noun', 13)))
  rng = np.random.default_rng(1)
  answers = averaging.average_views(
    scoring.random_scores(rng, 60, 22, task, views=3), how
  )
  parts = list(task.parts(22).values())
  slow = np.array([
    slow_action_rank(p, label, parts)
    for p, label in zip(answers.probabilities(), answers.label_Rx, strict=True)
  ])  # fmt: skip
  found = values(answers)
  assert found['action_top5'] == pytest.approx(np.mean(slow < 5))
  assert 0.05 < found['action_top1'] < found['action_top5'] < 0.95


def test_several_right_classes_any_of_which_will_do():
  # Best right ranks: 0, 1 (ties count against), 5, 2.
  scores = [
    [1, 2, 9, 0, 0, 0, 0],
    [3, 3, 0, 0, 0, 0, 0],
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 4, 5, 6],
  ]
  labels = [(0, 2), (0,), (0, 1), (4, 1)]
  found = values(scoring.video_scores(scores, labels, ANY))
  assert found['hit1'] == 1 / 4
  assert found['hit5'] == 3 / 4
  assert list(found) == ['hit1', 'hit5', 'map']


def test_mean_average_precision_by_hand():
  """Class 0: right at places 1 and 3 of 4; class 1: at 2; class 2: nowhere."""
  scores = [[9, 9, 1], [8, 8, 2], [7, 7, 3], [6, 6, 4]]
  answers = scoring.video_scores(scores, [(0,), (1,), (0,), ()], MULTI)
  assert values(answers) == {
    'map': pytest.approx(((1 / 1 + 2 / 3) / 2 + 1 / 2) / 2)
  }


def test_videos_that_tie_enter_together():
  answers = scoring.video_scores(
    [[1], [1], [1], [0]], [(0,), (), (), ()], MULTI
  )
  assert values(answers)['map'] == pytest.approx(1 / 3)


def ranked(answers) -> np.ndarray:
  """What videos are ranked by, counted another way."""
  if answers.info.task == MULTI:
    return answers.score_RK
  return np.asarray(jax.nn.softmax(answers.score_RK.astype(np.float32)))


@pytest.mark.parametrize('task', [MULTI, ANY], ids=lambda t: t.kind)
def test_average_precision_is_that_of_training(task):
  rng = np.random.default_rng(2)
  scored = scoring.random_scores(rng, 80, 12, task)
  scored.logits_RVK[:] = scored.logits_RVK.round(1)  # many ties
  answers = averaging.average_views(scored)
  ours = values(answers)['map']
  theirs = average_precision.mean_ap(ranked(answers), answers.label_Rx)
  assert ours == pytest.approx(theirs.value, abs=1e-12)


@pytest.mark.parametrize('task', [MULTI, ANY], ids=lambda t: t.kind)
def test_average_precision_is_that_of_scikit_learn(task):
  learn = pytest.importorskip('sklearn.metrics')
  scored = scoring.random_scores(np.random.default_rng(2), 80, 12, task)
  scored.logits_RVK[:] = scored.logits_RVK.round(1)  # many ties
  answers = averaging.average_views(scored)
  assert values(answers)['map'] == pytest.approx(
    learn.average_precision_score(answers.label_Rx, ranked(answers))
  )


@pytest.mark.parametrize(
  'task', [SINGLE, VERB_NOUN, ANY, MULTI], ids=['single', 'heads', 'any', 'map']
)
def test_videos_that_count_twice_are_as_if_they_were_there_twice(task):
  rng = np.random.default_rng(3)
  answers = averaging.average_views(scoring.random_scores(rng, 40, 7, task))
  for _ in range(3):
    count = np.bincount(rng.integers(40, size=40), minlength=40)
    order = rng.permutation(np.repeat(np.arange(40), count))
    copied = averaging.VideoScores(
      score_RK=answers.score_RK[order],
      logits=True,
      label_Rx=answers.label_Rx[order],
      videos=tuple(answers.videos[i] for i in order),
      info=answers.info,
    )
    counted = {
      m.name: float(m(count)) for m in metrics.prepare_metrics(answers)
    }
    assert counted == pytest.approx(values(copied))


@pytest.mark.parametrize(
  'task', [SINGLE, VERB_NOUN, ANY], ids=['single', 'heads', 'any']
)
def test_a_video_is_right_here_where_it_is_in_training(task):
  """NumPy in float64 and JAX in float32 agree, ties included."""
  rng = np.random.default_rng(4)
  scored = scoring.random_scores(rng, 200, 7, task)
  scored.logits_RVK[:] = scored.logits_RVK.round()
  answers = averaging.average_views(scored)
  theirs = accuracies(
    jnp.asarray(scored.logits_RVK[:, 0]), jnp.asarray(answers.label_Rx), task
  )
  found = values(answers)
  assert theirs
  for name, right_R in theirs.items():
    assert found[name] == pytest.approx(float(right_R.mean()), abs=1e-6), name


def slow_epic(answers, tails, unseen) -> dict[str, float]:
  """The official counts, video by video, of top-1."""
  parts = VERB_NOUN.parts(7)
  found = collections.defaultdict(list)
  for score_K, label, video in zip(
    answers.score_RK, answers.label_Rx, answers.videos, strict=True
  ):
    right, tail = {}, {}
    for i, (head, part) in enumerate(parts.items()):
      right[head] = part.start + score_K[part].argmax() == label[i]
      tail[head] = label[i] in tails[head]
    right['action'] = right['verb'] and right['noun']
    tail['action'] = tail['verb'] or tail['noun']
    for head in ('verb', 'noun', 'action'):
      if tail[head]:
        found[f'tail/{head}_top1'].append(right[head])
      if video in unseen:
        found[f'unseen/{head}_top1'].append(right[head])
  return {name: float(np.mean(right)) for name, right in found.items()}


def test_the_tail_and_unseen_people_are_counted_as_epic_counts_them():
  rng = np.random.default_rng(5)
  tails, unseen = (
    {'verb': (2,), 'noun': (4, 6)},
    ('v3.mp4', 'v9.mp4', 'v20.mp4'),
  )
  scored = scoring.random_scores(
    rng, 50, 7, VERB_NOUN,
    subsets={'unseen': unseen, 'nobody': ('other',)},
    class_subsets={f'tail_{head}': tail for head, tail in tails.items()},
  )  # fmt: skip
  answers = averaging.average_views(scored)
  found = values(answers)
  slow = slow_epic(answers, tails, unseen)
  assert len(slow) == 6
  assert {name: found[name] for name in slow} == pytest.approx(slow)
  assert 'tail/action_top5' in found
  assert 'unseen/noun_top5' in found
  assert metrics.absent_subsets(answers) == ['nobody']
  assert not any(name.startswith('nobody') for name in found)


def test_half_a_tail_has_no_actions():
  rng = np.random.default_rng(6)
  scored = scoring.random_scores(
    rng, 30, 7, VERB_NOUN, class_subsets={'tail_noun': (4, 6)}
  )
  found = values(averaging.average_views(scored))
  assert {n for n in found if n.startswith('tail/')} == {
    'tail/noun_top1', 'tail/noun_top5'
  }  # fmt: skip


def test_subsets_of_the_other_tasks():
  scores, labels = np.eye(3)[[0, 1, 0]], [(0,), (1,), (2,)]
  rare = {'class_subsets': {'rare': (1, 2)}, 'subsets': {'night': ('v0.mp4',)}}
  found = values(scoring.video_scores(scores, labels, **rare))
  assert found['rare/top1'] == 0.5
  assert found['night/top1'] == 1
  found = values(scoring.video_scores(scores, labels, ANY, **rare))
  assert found['night/hit1'] == found['night/map'] == 1
  found = values(scoring.video_scores(scores, labels, MULTI, **rare))
  assert found['night/map'] == 1  # of class 0, the only one there


def test_a_score_that_is_no_number_is_never_right():
  nan = np.nan
  score_RK = np.array([[nan, 1, 2], [3, nan, 2], [nan, nan, nan], [3, 1, 2]])
  label_R = np.zeros(4, int)
  assert metrics.label_rank(score_RK, label_R).tolist() == [2, 1, 2, 0]
  right_RK = np.array([[1, 0, 0]] * 3 + [[1, 1, 0]])
  assert hit_k.best_rank(score_RK, right_RK).tolist() == [2, 1, 2, 0]
  sure_RK = np.tile([0.0, -9], (4, 1))
  joint_R = top_k.joint_rank([score_RK, sure_RK], [label_R, label_R])
  assert joint_R.tolist() == [5, 2, 5, 0]


def slow_map(answers, count_R) -> float:
  """Every video of a class against every video, class by class.

  A class without a video keeps the value that it has with all videos.
  """
  found, once_R = [], np.ones(len(count_R))
  if not count_R.any():
    return np.nan
  for score_R, right_R in zip(
    answers.score_RK.T, answers.label_Rx.T > 0, strict=True
  ):
    if right_R.any():
      w_R = count_R if (right_R & (count_R > 0)).any() else once_R
      own = np.flatnonzero(right_R & (w_R > 0))
      above_RN = score_R[:, None] >= score_R[own]
      precision_N = w_R[own] @ above_RN[own] / (w_R @ above_RN)
      found.append(np.average(precision_N, weights=w_R[own]))
  return float(np.mean(found))


@pytest.mark.parametrize('digits', [0, 1, 6])
def test_drawn_average_precision_agrees_with_a_slow_count(digits):
  """Of many ties and few; in each draw a third of the videos is not there."""
  rng = np.random.default_rng(7)
  scored = scoring.random_scores(rng, 60, 9, MULTI)
  scored.logits_RVK[:] = scored.logits_RVK.round(digits)
  scored.label_Rx[:, 4] = 0  # a class that no video has
  scored.label_Rx[:, 5] = np.arange(60) == 11  # and one that few draws have
  answers = averaging.average_views(scored)
  (metric,) = metrics.prepare_metrics(answers)
  counts = np.stack([
    np.bincount(rng.integers(60, size=60), minlength=60) for _ in range(40)
  ])  # fmt: skip
  counts[3] = 0
  slow = [slow_map(answers, count_R) for count_R in counts]
  assert np.isnan(slow).sum() == 1
  np.testing.assert_allclose(metric(counts), slow, rtol=1e-12)
  np.testing.assert_allclose(
    metric(counts.reshape(5, 8, 60)), np.reshape(slow, (5, 8)), rtol=1e-12
  )


def test_average_precision_needs_no_pairs_of_videos():
  """20,000 videos x 4,000 of the class were 510 MB; a pass is 1 MB or so."""
  rng = np.random.default_rng(8)
  score_RK = rng.normal(size=(20_000, 1))
  right_RK = rng.random((20_000, 1)) < 0.2
  function = mean_ap.MeanAveragePrecision(score_RK, right_RK)
  tracemalloc.start()
  function(np.ones((2, 20_000)), np.ones(20_000))
  most = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert most < 20e6


def test_a_metric_is_one_file(tmp_path, monkeypatch, capsys):
  """A stranger's metric is in the report, with its interval and in subsets."""
  rng = np.random.default_rng(9)
  scored = scoring.random_scores(
    rng, 40, 5, class_subsets={'rare': (1, 2)}, subsets={'night': ('v3.mp4',)}
  )
  scored.save(tmp_path / 's.npz')
  argv = ['evaluate', '--scores', str(tmp_path / 's.npz')]
  stranger_metric.add(tmp_path, monkeypatch)
  assert main([*argv, '--json']) == 0
  tree = json.loads(capsys.readouterr().out)
  best_R2 = np.argsort(-scored.logits_RVK[:, 0], -1)[:, :2]
  right_R = (best_R2 == scored.label_Rx[:, None]).any(1)
  assert tree['test_1x1/top2'] == right_R.mean()
  low, high = tree['intervals']['test_1x1/top2']
  assert low < right_R.mean() < high
  rare_R = np.isin(scored.label_Rx, (1, 2))
  assert tree['test_1x1/rare/top2'] == right_R[rare_R].mean()
  assert tree['test_1x1/night/top2'] == right_R[3]
  assert tree['headline'] == 'test_1x1/top1'
  assert main(argv) == 0
  assert re.search(
    r'test_1x1/top2: \S+% \(\S+% to \S+%\)', capsys.readouterr().out
  )
  # Labels that the file does not name have no such metric.
  assert 'top2' not in values(averaging.average_views(
    scoring.random_scores(rng, 9, 7, VERB_NOUN)))  # fmt: skip


def test_two_metrics_of_one_name_are_refused(tmp_path, monkeypatch):
  stranger_metric.add(tmp_path, monkeypatch)
  path = tmp_path / 'metrics/top_two.py'
  path.write_text(path.read_text().replace("'top2'", "'top5'"))
  path.rename(path.with_name('another_top5.py'))
  with pytest.raises(ValueError, match="two metrics are called 'top5'"):
    values(scoring.video_scores(np.eye(3), [(0,), (1,), (2,)]))
