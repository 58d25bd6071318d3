"""A deck as PowerPoint that stays editable: texts, native charts and tables, pictures, notes, the slides' JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence

from lxml import etree
from PIL import Image
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE, XL_LABEL_POSITION, XL_TICK_LABEL_POSITION
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.opc.constants import RELATIONSHIP_TYPE
from pptx.opc.package import Part as PackagePart
from pptx.opc.packuri import PackURI
from pptx.oxml.ns import qn
from pptx.presentation import Presentation as Deck
from pptx.util import Inches, Pt

from core.deck import layout
from core.deck.carried import MARK, clean, notes, pack, right_to_left
from core.deck.layout import BARS, HEIGHT, ROWS, WIDTH, Box, Chart, Picture, Table, Words
from core.deck.pictures import Pictures
from core.deck.slide import Bars, Slide

NAMESPACE = "urn:whylook:slides"
_BLANK = 6


def powerpoint(slides: Sequence[Slide], pictures: Pictures) -> bytes:
    """The slides as a .pptx."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    deck.core_properties.title = clean(slides[0].title)[:250] if slides else ""
    deck.core_properties.author = "whylook"
    for slide in slides:
        made = deck.slides.add_slide(deck.slide_layouts[_BLANK])
        made._element.cSld.set("name", slide.key)
        for part in layout.parts(slide, pictures):
            if isinstance(part, Words):
                _words(made, part)
            elif isinstance(part, Picture):
                _picture(made, part)
            elif isinstance(part, Chart):
                _chart(made, part)
            else:
                _table(made, part)
        made.notes_slide.notes_text_frame.text = notes(slide)
    _carry(deck, pack(slides))
    sink = io.BytesIO()
    deck.save(sink)
    return sink.getvalue()


def _carry(deck: Deck, text: str) -> None:
    """Puts the slides' JSON into a custom XML part."""
    root = etree.Element(f"{{{NAMESPACE}}}{MARK}", nsmap={None: NAMESPACE})
    root.text = text
    blob = etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)
    part = PackagePart(PackURI("/customXml/item1.xml"), "application/xml", deck.part.package, blob)
    deck.part.relate_to(part, RELATIONSHIP_TYPE.CUSTOM_XML)


def _inches(box: Box) -> tuple[Inches, Inches, Inches, Inches]:
    return Inches(box.x), Inches(box.y), Inches(max(box.width, 0.1)), Inches(max(box.height, 0.1))


def _words(made: object, part: Words) -> None:
    shape = made.shapes.add_textbox(*_inches(part.box))  # type: ignore[attr-defined]
    shape.name = part.place
    frame = shape.text_frame
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = 0
    frame.vertical_anchor = MSO_ANCHOR.TOP
    frame.text = part.text
    for paragraph in frame.paragraphs:
        _styled(paragraph, part.size, bold=part.bold, colour=part.colour)
        if part.centred:
            paragraph.alignment = PP_ALIGN.CENTER


def _styled(paragraph: object, size: float, *, bold: bool, colour: str) -> None:
    font = paragraph.font  # type: ignore[attr-defined]
    font.size, font.bold, font.color.rgb = Pt(size), bold, RGBColor.from_string(colour)
    if right_to_left(paragraph.text):  # type: ignore[attr-defined]
        properties = paragraph._p.get_or_add_pPr()  # type: ignore[attr-defined]
        properties.set("rtl", "1")
        properties.set("algn", "r")


def _picture(made: object, part: Picture) -> None:
    shapes = made.shapes  # type: ignore[attr-defined]
    x, y, wide, high = _inches(part.box)
    if part.content is None:
        frame = shapes.add_shape(MSO_SHAPE.RECTANGLE, x, y, wide, high)
        frame.fill.solid()
        frame.fill.fore_color.rgb = RGBColor.from_string(layout.PANEL)
        frame.line.fill.background()
        frame.text_frame.text = "no picture"
        _styled(frame.text_frame.paragraphs[0], 12, bold=False, colour=layout.SOFT)
        frame.name = part.place
        return
    with Image.open(io.BytesIO(part.content)) as image:
        factor = min(wide / image.width, high / image.height)
        size = int(image.width * factor), int(image.height * factor)
    shape = shapes.add_picture(io.BytesIO(part.content), x, y + (high - size[1]) // 2, *size)
    shape.name = part.place
    shape._element.nvPicPr.cNvPr.set("descr", part.alt)


def _chart(made: object, part: Chart) -> None:
    """A native bar chart whose values one can edit; its error bars are the intervals."""
    bars = part.bars
    data = CategoryChartData(number_format="0.0%")
    data.categories = [clean(name) for name in bars.names[:BARS]]
    data.add_series(clean(bars.heading), [round(value, 6) if value == value else None for value in bars.values[:BARS]])
    frame = made.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, *_inches(part.box), data)  # type: ignore[attr-defined]
    frame.name = "chart"
    chart = frame.chart
    chart.has_legend, chart.has_title = False, True
    chart.chart_title.text_frame.text = clean(bars.heading)
    _styled(chart.chart_title.text_frame.paragraphs[0], 14, bold=False, colour=layout.SOFT)
    chart.font.size, chart.font.color.rgb = Pt(14), RGBColor.from_string(layout.INK)
    chart.category_axis.reverse_order = True
    chart.category_axis.has_major_gridlines = False
    chart.category_axis.format.line.color.rgb = RGBColor.from_string("D9DDE2")
    axis = chart.value_axis
    axis.minimum_scale, axis.maximum_scale = 0, 1
    axis.has_major_gridlines, axis.visible = False, False
    axis.tick_label_position = XL_TICK_LABEL_POSITION.NONE
    plot = chart.plots[0]
    plot.gap_width, plot.has_data_labels = 45, True
    labels = plot.data_labels
    labels.number_format, labels.number_format_is_linked = "0.0%", False
    labels.position, labels.show_value = XL_LABEL_POSITION.INSIDE_BASE, True
    labels.font.size, labels.font.bold, labels.font.color.rgb = Pt(14), True, RGBColor.from_string(layout.PAPER)
    series = plot.series[0]
    series.format.fill.solid()
    series.format.fill.fore_color.rgb = RGBColor.from_string(layout.ACCENT)
    series._element.insert_element_before(_error_bars(bars), "c:cat", "c:val", "c:shape", "c:extLst")


def _error_bars(bars: Bars) -> etree._Element:
    """The intervals as custom error bars, which python-pptx does not make."""
    made = etree.Element(qn("c:errBars"))
    for name, value in (("errBarType", "both"), ("errValType", "cust"), ("noEndCap", "0")):
        etree.SubElement(made, qn(f"c:{name}")).set("val", value)
    shown = list(zip(bars.values, bars.low, bars.high, strict=True))[:BARS]
    for name, reach in (
        ("plus", [high - value for value, _, high in shown]),
        ("minus", [value - low for value, low, _ in shown]),
    ):
        literal = etree.SubElement(etree.SubElement(made, qn(f"c:{name}")), qn("c:numLit"))
        etree.SubElement(literal, qn("c:formatCode")).text = "General"
        etree.SubElement(literal, qn("c:ptCount")).set("val", str(len(reach)))
        for index, length in enumerate(reach):
            point = etree.SubElement(literal, qn("c:pt"))
            point.set("idx", str(index))
            etree.SubElement(point, qn("c:v")).text = str(round(max(0.0, length), 6) if length == length else 0)
    return made


def _table(made: object, part: Table) -> None:
    grid, size = part.grid, part.size
    rows = grid.rows[:ROWS]
    columns = max([len(grid.head), *map(len, rows), 1])
    frame = made.shapes.add_table(len(rows) + 1, columns, *_inches(part.box))  # type: ignore[attr-defined]
    frame.name = "table"
    for y, row in enumerate([grid.head, *rows]):
        for x, text in enumerate(row):
            cell = frame.table.cell(y, x)
            cell.text = clean(text)
            cell.margin_top = cell.margin_bottom = Pt(2)
            cell.fill.solid()
            cell.fill.fore_color.rgb = RGBColor.from_string(layout.ACCENT if y == 0 else layout.PANEL)
            for paragraph in cell.text_frame.paragraphs:
                _styled(paragraph, size, bold=y == 0, colour=layout.PAPER if y == 0 else layout.INK)
