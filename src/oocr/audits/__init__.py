"""`oocr audit`: finding what is audited, and what comes out of it."""
