"""Learning-rate schedules, one file each, found by file name.

A file `linear.py` in this folder is the schedule 'linear', unless it sets NAME:
the value of `optim.schedule` in a recipe. It defines

  READS     the fields of a recipe's `optim` section that it uses, besides those
            that serve every schedule: a recipe that sets a field which its
            schedule does not read is refused
  build(optim, *, peak, total, unit) -> optax.Schedule
            peak: the peak rate, already scaled to the batch; total: steps of
            the run; unit: steps in one unit of the recipe's epochs or steps
  check(optim)
            optional: raises InputError for fields that disagree

Warm-up is applied to every schedule (`train/optim.py`).
"""
