"""From a checkpoint to numbers: scores of views, accuracy of videos, answers.

Reading order: `trained` opens a checkpoint, `run` scores a split, `accuracy`
turns view scores into a report; `predict` answers for files.
"""
