"""A statement as PDF, A4. Needs the extra ``[pdf]`` (fpdf2)."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_router.billing.statement_rows import cents, percent, shown
from llm_router.billing.statements import CENT_PUSD, Invoice, Statement
from llm_router.domain.errors import ServerError
from llm_router.engine.moments import iso_time
from llm_router.engine.statement_files import PDF_MISSING
from llm_router.engine.statement_html import KINDS, failed_lines, foot_lines, last_day, month_name, usd

INK, SOFT, LINE, TINT, ACCENT = (22, 32, 44), (93, 107, 122), (220, 226, 233), (245, 247, 250), (47, 91, 234)
MARGIN_MM, WIDTH_MM, FOOT_MM = 18, 174, 20

FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu/DejaVuSans.ttf",
    "/Library/Fonts/Arial Unicode.ttf",
)
"""Where a font with more letters than PDF's own may lie; only looked for where a name needs them."""

FURTHER_FONTS = (
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/google-droid-sans-fonts/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/unifont/unifont.ttf",
    "/Library/Fonts/Arial Unicode.ttf",
)
"""Where fonts may lie for the letters that the first lacks."""

SHOWN_MAX = 20
"""Letters that an error names."""


def statement_pdf(s: Statement) -> bytes:
    """The pages.

    Raises:
        ServerError: fpdf2 is not installed, or no font has the letters.
    """
    return _Page(_library(), s).made()


def pdf_doubt(s: Statement) -> str | None:
    """Why a statement cannot be a PDF here; None if it can. Takes a while where it holds rare letters.

    Nothing is said where the library is not installed: no statement can be one then.
    """
    if _is_plain(s):
        return None
    try:
        _library()
        _fonts_for(s)
    except ServerError as error:
        return None if error.code == "extra_missing" else error.message
    return None


def _fonts_for(s: Statement) -> list[Path]:
    """The system's fonts that together have all letters; none where PDF's own have.

    Raises:
        ServerError: they have not. A page on which letters are missing is none.
    """
    if _is_plain(s):
        return []
    first = next((Path(name) for name in FONTS if Path(name).is_file()), None)
    if first is None:
        raise ServerError(
            "a name holds letters that PDF's own fonts lack, and no font with them was found: install the fonts "
            "'DejaVu' (Debian: fonts-dejavu-core), or write --format html and print it",
            code="font_missing",
        )
    lacking = _lacking({c for c in _texts(s) if c.isprintable() and c != " "}, first)
    paths = [first]
    for path in map(Path, FURTHER_FONTS):
        if lacking and path.is_file():
            left = _lacking(lacking, path)
            if left != lacking:
                paths.append(path)
            lacking = left
    if lacking:
        letters = "".join(sorted(lacking)[:SHOWN_MAX])
        raise ServerError(
            f"no font here has the letters '{letters}': install one that has them (Debian: fonts-droid-fallback), "
            "or take the format html, which leaves them to the browser, and print it",
            code="font_missing",
        )
    return paths


def _lacking(letters: set[str], path: Path) -> set[str]:
    """Those that a font lacks."""
    library = importlib.import_module("fontTools.ttLib")  # fpdf2 needs it too
    with library.TTFont(str(path), lazy=True, fontNumber=0) as font:
        known = font.getBestCmap()
        return {c for c in letters if ord(c) not in known}


def _library() -> Any:
    try:
        return importlib.import_module("fpdf")
    except ImportError:
        raise ServerError(PDF_MISSING, code="extra_missing") from None


def _texts(s: Statement) -> str:
    """All that others wrote in it."""
    invoice = () if s.invoice is None else (*s.invoice.issuer, *s.invoice.customer, *s.invoice.notes)
    taxes = () if s.invoice is None else tuple(tax.name for tax in s.invoice.taxes)
    return "".join((*invoice, *taxes, *(c.note for c in s.credits), *(u.model for u in s.usage)))


def _is_plain(s: Statement) -> bool:
    """Whether PDF's own fonts have all letters."""
    try:
        _texts(s).encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


class _Page:
    """One document, written from the top down."""

    def __init__(self, library: Any, s: Statement) -> None:
        self._s = s
        self._paths = _fonts_for(s)
        pdf = self._pdf = library.FPDF(unit="mm", format="A4")
        pdf.set_margins(MARGIN_MM, MARGIN_MM)
        pdf.set_auto_page_break(True, FOOT_MM)
        title = "Statement" if s.invoice is None else "Invoice"
        pdf.set_title(title if s.number is None else f"{title} {s.number}")
        pdf.set_creator("LLM Router")
        pdf.set_lang("en")
        at_ms = s.to_ms if s.issued_ms is None else s.issued_ms
        pdf.set_creation_date(datetime.fromtimestamp(at_ms // 1000, UTC))
        self._font = self._load_font()
        pdf.add_page()
        self._title = title

    def made(self) -> bytes:
        self._head()
        if self._s.invoice is not None:
            self._parties(self._s.invoice)
        self._figures()
        self._usage()
        self._credits()
        if self._s.invoice is not None:
            self._totals(self._s.invoice)
        self._foot()
        return bytes(self._pdf.output())

    def _load_font(self) -> str:
        """PDF's own font where it has all letters, else some of the system's."""
        if not self._paths:
            return "helvetica"
        first, *further = self._paths
        bold = first.with_name("DejaVuSans-Bold.ttf")
        self._pdf.add_font("own", "", str(first))
        self._pdf.add_font("own", "B", str(bold if bold.is_file() else first))
        for number, path in enumerate(further):
            for style in ("", "B"):
                self._pdf.add_font(f"more{number}", style, str(path))
        if further:
            self._pdf.set_fallback_fonts([f"more{n}" for n in range(len(further))], exact_match=False)
        return "own"

    def _use(self, size: float, style: str = "", color: tuple[int, int, int] = INK) -> None:
        self._pdf.set_font(self._font, style, size)
        self._pdf.set_text_color(*color)

    def _cell(self, width: float, height: float, text: str, align: str = "L", *, ends: bool = False) -> None:
        where = {"new_x": "LMARGIN", "new_y": "NEXT"} if ends else {"new_x": "RIGHT", "new_y": "TOP"}
        # Figures are never cut: there is room for the longest that an account can hold.
        shown = text if align == "R" else self._fitted(text, width)
        self._pdf.cell(width, height, shown, align=align, **where)

    def _size(self, text: str, width: float) -> float:
        """The largest size in which a headline figure has all of its digits."""
        size = 12.5
        while size > 6:
            self._use(size, "B")
            if self._pdf.get_string_width(text) <= width - 2:
                break
            size -= 0.5
        return size

    def _fitted(self, text: str, width: float) -> str:
        """The text, cut where it would leave its column."""
        if not width or self._pdf.get_string_width(text) <= width - 2:
            return text
        while text and self._pdf.get_string_width(text + "...") > width - 2:
            text = text[:-1]
        return text + "..."

    def _rule(self, color: tuple[int, int, int] = LINE, width_mm: float = 0.2) -> None:
        self._pdf.set_draw_color(*color)
        self._pdf.set_line_width(width_mm)
        y = self._pdf.get_y()
        self._pdf.line(MARGIN_MM, y, MARGIN_MM + WIDTH_MM, y)

    def _head(self) -> None:
        pdf, s = self._pdf, self._s
        pdf.set_fill_color(*ACCENT)
        pdf.rect(0, 0, 210, 2.2, style="F")
        top = pdf.get_y()
        self._use(24, "B")
        self._cell(90, 10, self._title, ends=True)
        self._use(11, color=SOFT)
        self._cell(90, 6, month_name(s.month), ends=True)
        if s.issued_ms is None:
            self._use(9, "B", (122, 82, 0))
            self._cell(90, 6, "Not issued: figures may still change", ends=True)
        facts = [("Account", s.account), ("Period", f"{s.month}-01 to {last_day(s)}")]
        if s.number is not None:
            facts.insert(0, ("Number", s.number))
        if s.issued_ms is not None:
            facts.append(("Issued", iso_time(s.issued_ms)[:10]))
        pdf.set_y(top + 1)
        for name, value in facts:
            pdf.set_x(MARGIN_MM + 94)
            self._use(9, color=SOFT)
            self._cell(22, 5.2, name)
            self._use(9, "B")
            self._cell(58, 5.2, value, "R", ends=True)
        pdf.set_y(max(pdf.get_y(), top + 24) + 6)

    def _parties(self, i: Invoice) -> None:
        pdf, top = self._pdf, self._pdf.get_y()
        bottom = top
        columns = [("Billed to", i.customer, i.customer_tax_id)]
        columns += [("From", i.issuer, i.issuer_tax_id)] if i.issuer else []
        for place, (name, lines, tax_id) in enumerate(columns):
            x = MARGIN_MM + place * (WIDTH_MM / 2 + 4)
            pdf.set_xy(x, top)
            self._use(7.5, "B", SOFT)
            self._cell(80, 5, name.upper(), ends=True)
            for number, line in enumerate(lines):
                pdf.set_x(x)
                self._use(10, "B" if number == 0 else "")
                self._cell(80, 5, line, ends=True)
            if tax_id is not None:
                pdf.set_x(x)
                self._use(9, color=SOFT)
                self._cell(80, 5, f"Tax number {tax_id}", ends=True)
            bottom = max(bottom, pdf.get_y())
        pdf.set_y(bottom + 7)

    def _figures(self) -> None:
        pdf, s = self._pdf, self._s
        added = sum(c.amount_pusd for c in s.credits) + s.late_credits_pusd
        figures = (
            ("Opening balance", s.opening_pusd),
            ("Added" if added >= 0 else "Taken back", added),
            ("Used", -s.charged_pusd),
            ("Closing balance", s.closing_pusd),
        )
        top, width = pdf.get_y(), WIDTH_MM / 4
        pdf.set_draw_color(*LINE)
        pdf.set_line_width(0.2)
        pdf.set_fill_color(*TINT)
        pdf.rect(MARGIN_MM + 3 * width, top, width, 17, style="F")
        pdf.rect(MARGIN_MM, top, WIDTH_MM, 17)
        for place, (name, pusd) in enumerate(figures):
            x = MARGIN_MM + place * width
            if place:
                pdf.line(x, top, x, top + 17)
            pdf.set_xy(x + 2, top + 2.5)
            self._use(8, color=SOFT)
            self._cell(width - 4, 4.5, name)
            pdf.set_xy(x + 2, top + 8)
            self._use(self._size(shown(pusd), width - 5), "B")
            self._cell(width - 4, 6, shown(pusd))
        pdf.set_xy(MARGIN_MM, top + 17)

    def _table(self, name: str, columns: list[tuple[str, float, str]], rows: list[list[str]]) -> None:
        """A table that goes on over pages with its head again."""
        pdf = self._pdf
        if pdf.will_page_break(34):
            pdf.add_page()
        pdf.set_y(pdf.get_y() + 8)
        self._use(7.5, "B", SOFT)
        self._cell(0, 6, name.upper(), ends=True)
        self._table_head(columns)
        for row in rows:
            if pdf.will_page_break(7.5):
                pdf.add_page()
                self._table_head(columns)
            self._use(9)
            for (_, width, align), cell in zip(columns, row, strict=True):
                self._cell(width, 7, cell, align)
            pdf.ln(7)
            self._rule()

    def _table_head(self, columns: list[tuple[str, float, str]]) -> None:
        self._use(8, color=SOFT)
        for title, width, align in columns:
            self._cell(width, 6, title, align)
        self._pdf.ln(6)
        self._rule(INK, 0.25)

    def _usage(self) -> None:
        s = self._s
        rows = [
            [u.model or "(no model)", f"{u.requests:,}", f"{u.input_tokens:,}", f"{u.cached_tokens:,}",
             f"{u.output_tokens:,}", shown(u.cost_pusd)]
            for u in s.bought
        ]  # fmt: skip
        if s.late_used_pusd:
            rows.append(["Earlier months, booked late", "", "", "", "", shown(s.late_used_pusd)])
        columns = [("Model", 46.0, "L"), ("Requests", 19.0, "R"), ("Input tokens", 24.0, "R")]
        columns += [("of them cached", 24.0, "R"), ("Output tokens", 24.0, "R"), ("Cost", 37.0, "R")]
        self._table("Usage by model", columns, rows or [["Nothing was used.", "", "", "", "", ""]])
        if rows:
            self._use(9, "B")
            self._cell(122, 8, "Total")
            self._cell(52, 8, shown(s.charged_pusd), "R", ends=True)
        for line in failed_lines(s):
            self._use(8, color=SOFT)
            self._cell(0, 6, line, ends=True)

    def _credits(self) -> None:
        s = self._s
        rows = [
            [iso_time(c.created_ms)[:10], KINDS[c.kind], c.note or c.ref, shown(c.amount_pusd)]
            for c in s.credits
        ]
        if s.late_credits_pusd:
            rows.append(["", "Late", "Credits of earlier months, booked late", shown(s.late_credits_pusd)])
        if rows:
            columns = [("Date", 24.0, "L"), ("Kind", 26.0, "L"), ("Note", 90.0, "L"), ("Amount", 34.0, "R")]
            self._table("Credits and adjustments", columns, rows)

    def _totals(self, i: Invoice) -> None:
        pdf = self._pdf
        lines = [("Usage, exact", shown(i.exact_pusd))]
        net = "Net, rounded to cents" if i.exact_pusd % CENT_PUSD else "Net"
        lines += [(net, usd(cents(i.net_cents)))]
        lines += [(f"{tax.name} {percent(tax.ppm)} %", usd(cents(tax.amount_cents))) for tax in i.taxes]
        lines += [("Total", usd(cents(i.total_cents))), ("Paid from credit", usd(cents(-i.paid_cents)))]
        if pdf.will_page_break(8 * len(lines) + 24):
            pdf.add_page()
        pdf.set_y(pdf.get_y() + 8)
        x = MARGIN_MM + 84
        pdf.set_draw_color(*LINE)
        for name, text in lines:
            pdf.set_x(x)
            self._use(9.5)
            self._cell(55, 6.5, name)
            self._cell(35, 6.5, text, "R", ends=True)
            pdf.line(x, pdf.get_y(), x + 90, pdf.get_y())
        pdf.set_draw_color(*INK)
        pdf.set_line_width(0.4)
        pdf.line(x, pdf.get_y() + 1, x + 90, pdf.get_y() + 1)
        pdf.set_xy(x, pdf.get_y() + 2.5)
        self._use(13, "B")
        self._cell(45, 8, "Due")
        self._cell(45, 8, usd(cents(i.due_cents)), "R", ends=True)

    def _foot(self) -> None:
        pdf = self._pdf
        if pdf.will_page_break(26):
            pdf.add_page()
        pdf.set_y(pdf.get_y() + 10)
        self._rule()
        pdf.ln(2)
        self._use(7.5, color=SOFT)
        for line in foot_lines(self._s):
            pdf.multi_cell(WIDTH_MM, 4, line, new_x="LMARGIN", new_y="NEXT")
