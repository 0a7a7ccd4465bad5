"""A process for each run, and the launchers that start several: joblib, SLURM, Ray."""
