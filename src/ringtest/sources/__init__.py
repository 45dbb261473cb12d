"""Where models come from: files, checkpoints, programs, estimators, stored evidence."""
