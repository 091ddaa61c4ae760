"""What an account gets in writing: receipts, reports of its use, statements and invoices."""

from __future__ import annotations

from llm_router.billing.statements import Issuer
from llm_router.engine.receipts import Receipts, ReceiptSigner
from llm_router.engine.reports import Reports
from llm_router.engine.statements import Statements
from llm_router.ports import Clock, PaperBooks


class Papers:
    """What the endpoints and the operator's commands work with."""

    def __init__(self, *, books: PaperBooks, signer: ReceiptSigner, clock: Clock, issuer: Issuer) -> None:
        self.books = books
        self.receipts = Receipts(books=books, signer=signer)
        self.reports = Reports(books=books, clock=clock)
        self.statements = Statements(books=books, clock=clock, issuer=issuer)
