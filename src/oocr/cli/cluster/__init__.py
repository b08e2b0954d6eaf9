"""Runs that many processes or machines share: `oocr work`, `oocr status`, Slurm, Ray."""
