"""Loses the first blocks and the second half of a PDF, so that nothing can be recovered from it.

The input has its dictionaries in a compressed object stream at the beginning and its
cross-reference stream at the end. Neither survives, and nor does the text of the pages: what
is left is a version line, blanks, and parts of fonts.
"""

import sys

VERSION_LINE = 9
LOST = 8192
KEPT = 24 * 1024


def main(source, target):
    with open(source, "rb") as file:
        data = file.read(KEPT)
    with open(target, "wb") as file:
        file.write(data[:VERSION_LINE] + bytes(LOST) + data[VERSION_LINE + LOST :])


if __name__ == "__main__":
    main(*sys.argv[1:])
