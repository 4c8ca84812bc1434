"""What every training script shares: seeds, devices, precision, options, checkpoints, logs, losses.

Nothing here imports the other packages of `reid`; the scripts and the trainers import this.
"""
