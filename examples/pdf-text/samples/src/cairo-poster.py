"""Draws the poster with Pango and Cairo: several sizes, colours, a tilted line and an upright one."""

import math
import sys

import cairo
import gi

gi.require_version("Pango", "1.0")
gi.require_version("PangoCairo", "1.0")
from gi.repository import Pango, PangoCairo  # noqa: E402

WIDTH, HEIGHT = 420.0, 595.0
MARGIN = 40.0

TEXT = (
    "The difficult part of weighing a cloud is to persuade it to sit still. Our office "
    "recommends an ordinary kitchen scale, a flat roof, and a morning without wind. "
    "Affix the scale to the roof with four waffles, offer the cloud a seat, and "
    "write down the first figure that it shows."
)
STEPS = (
    "1. Clouds below 200 grams are fog and may be taken home.",
    "2. Clouds above 900 tonnes must be reported to the Café Zürich before noon.",
    "3. Thunder is weighed separately, in a box with a lid.",
)


def put(context, text, font, x, y, width=None, centre=False):
    layout = PangoCairo.create_layout(context)
    PangoCairo.context_set_resolution(layout.get_context(), 72)  # one unit is one point
    layout.context_changed()
    layout.set_font_description(Pango.FontDescription(font))
    if width is not None:
        layout.set_width(int(width * Pango.SCALE))
        layout.set_wrap(Pango.WrapMode.WORD)
    if centre:
        layout.set_alignment(Pango.Alignment.CENTER)
    layout.set_text(text, -1)
    context.move_to(x, y)
    PangoCairo.show_layout(context, layout)
    return y + layout.get_pixel_size()[1]


def main(path):
    surface = cairo.PDFSurface(path, WIDTH, HEIGHT)
    surface.set_metadata(cairo.PDFMetadata.TITLE, "How to Weigh a Cloud")
    surface.set_metadata(cairo.PDFMetadata.AUTHOR, "Sortie contributors")
    surface.set_metadata(cairo.PDFMetadata.SUBJECT, "A sample of Pango and Cairo")
    surface.set_metadata(cairo.PDFMetadata.CREATE_DATE, "2025-01-01T00:00:00Z")
    context = cairo.Context(surface)
    inner = WIDTH - 2 * MARGIN

    context.set_source_rgb(0.86, 0.92, 0.97)
    context.paint()
    context.set_source_rgb(1, 1, 1)
    for x, y, radius in ((90, 480, 46), (150, 460, 62), (220, 478, 50), (280, 490, 34)):
        context.arc(x, y, radius, 0, 2 * math.pi)
        context.fill()

    context.set_source_rgb(0.10, 0.22, 0.40)
    y = put(context, "HOW TO WEIGH\nA CLOUD", "DejaVu Serif Bold 36", MARGIN, 40, inner, True)
    context.set_source_rgb(0.35, 0.40, 0.48)
    y = put(context, "a public notice in three steps", "DejaVu Sans 16", MARGIN, y + 8, inner, True)
    context.set_source_rgb(0.05, 0.05, 0.05)
    y = put(context, TEXT, "DejaVu Serif 13", MARGIN, y + 18, inner)
    for step in STEPS:
        y = put(context, step, "DejaVu Sans 12", MARGIN, y + 9, inner)

    context.save()
    context.translate(85, 490)
    context.rotate(math.radians(-9))
    context.set_source_rgb(0.70, 0.15, 0.15)
    put(context, "Please do not feed the rain", "DejaVu Serif Bold 15", 0, 0)
    context.restore()

    context.set_source_rgb(0.35, 0.40, 0.48)
    put(context, "Department of Soft Measures, room 12, opposite the staircase", "DejaVu Sans 9", MARGIN, 560, inner, True)
    surface.finish()


if __name__ == "__main__":
    main(sys.argv[1])
