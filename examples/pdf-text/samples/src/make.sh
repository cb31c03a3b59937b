#!/bin/sh
# Makes all sample PDFs again, from the sources beside this script.
#
# Building and testing the project does not need this: the PDFs are committed. It
# is here so that each of them can be explained, changed, and made once more. Made on
# Debian 12; another release brings other producers, and so other files. Page breaks may
# move with them, which is why the results deserve a look. The
# expected texts (../NAME.txt) follow the sources, not an extractor, and are not touched.
#
# Packages (apt-get install --no-install-recommends):
#   groff texlive-latex-base texlive-latex-recommended texlive-fonts-recommended
#   lmodern ghostscript libreoffice-writer-nogui chromium python3-cairo python3-gi
#   python3-gi-cairo gir1.2-pango-1.0 libtiff-tools qpdf poppler-utils
#   fonts-liberation fonts-dejavu-core fonts-hosny-amiri fonts-noto-core fonts-ipafont-mincho
#
# The encrypted files differ on every run (random keys), and so do the time stamps
# of some producers. Everything else is the same from run to run.
set -eu

src=$(cd "$(dirname "$0")" && pwd)
out=$(dirname "$src")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH=1735689600 FORCE_SOURCE_DATE=1 TZ=UTC
cd "$work"
cp -R "$src"/. .

report() { # groff: the standard 14 fonts by name, not embedded
    groff -K utf8 -ms -Tpdf "$1.ms" >"$1.pdf"
}

latex() { # pdfTeX: Type 1 subsets; the second run settles the labels
    pdflatex -interaction=batchmode "$1.tex" >/dev/null || { cat "$1.log" >&2; exit 1; }
    pdflatex -interaction=batchmode "$1.tex" >/dev/null
}

writer() { # LibreOffice: TrueType and OpenType subsets with ToUnicode
    soffice "-env:UserInstallation=file://$work/office" --headless \
        --convert-to pdf "$1.fodt" >/dev/null 2>&1
}

browser() { # Chromium: Skia, tagged PDF
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        "--user-data-dir=$work/browser" --no-pdf-header-footer \
        "--print-to-pdf=$work/$1.pdf" "file://$work/$1.html" >/dev/null 2>&1
}

report groff-report
latex latex-article
latex latex-twocolumn
writer libreoffice-letter
writer hebrew
browser browser-page
browser arabic
browser japanese-vertical
/usr/bin/python3 cairo-poster.py cairo-poster.pdf

# dvips draws Computer Modern as bitmaps (-V1), Ghostscript keeps them as Type 3.
pdflatex -output-format=dvi -interaction=batchmode dvips-type3.tex >/dev/null
dvips -q -V1 -D 300 -mode cx -o dvips-type3.ps dvips-type3.dvi
ps2pdf dvips-type3.ps dvips-type3.pdf

gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -dAutoRotatePages=/None \
    -sOutputFile=rotated.pdf rotated.ps
gs -q -Ighostscript --permit-file-read=/usr/share/fonts/ -dNOPAUSE -dBATCH \
    -sDEVICE=pdfwrite -sOutputFile=japanese-cmap.pdf japanese-cmap.ps

# A page, its picture, and a PDF around the picture.
gs -q -dNOPAUSE -dBATCH -sDEVICE=tiffg4 -r150 -sOutputFile=scanned.tiff scanned.ps
tiff2pdf -t 'Memo to All Shelves' -a 'Sortie contributors' -c tiff2pdf \
    -e 20250101000000 -o scanned.pdf scanned.tiff

report sealed-minutes
qpdf --encrypt open-sesame owner-sesame 256 -- sealed-minutes.pdf encrypted.pdf
qpdf --encrypt '' owner-sesame 256 -- sealed-minutes.pdf encrypted-owner.pdf

# Object streams put every dictionary into one place, which damage.py then loses.
qpdf --object-streams=generate --deterministic-id latex-article.pdf whole.pdf
/usr/bin/python3 damage.py whole.pdf damaged.pdf

for name in groff-report latex-article latex-twocolumn dvips-type3 libreoffice-letter \
    browser-page cairo-poster arabic hebrew japanese-vertical japanese-cmap \
    encrypted encrypted-owner damaged scanned rotated; do
    cp "$name.pdf" "$out/$name.pdf"
done
