"""`python -m oocr` is `oocr`."""

from oocr.cli.main import main

main()
