"""`python -m oocr` is `oocr`."""

from oocr.cli import main

main()
