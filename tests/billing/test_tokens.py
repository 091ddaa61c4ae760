# ruff: noqa: RUF001 - full-width punctuation is what is tested
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.billing.tokens import (
    DENSE_BYTES,
    FRAME_TOKENS,
    count_text,
    estimate_tokens,
    tokens_of_chars,
    tokens_upper,
)

# Texts with their counts by o200k_base, Llama 3 and Qwen 3, in rising order.
SAMPLES = {
    "english": (
        "The gateway keeps every account in whole picodollars, so that a thousand small requests add up to exactly what they cost. When a stream breaks off, the customer pays for nothing that did not arrive; when it ends, the last message says what was charged and what is left.",
        (57, 58, 58),
    ),
    "german": (
        "Das Gateway führt jedes Konto in ganzen Picodollar, damit tausend kleine Anfragen genau das ergeben, was sie gekostet haben. Bricht ein Datenstrom ab, so zahlt der Kunde nichts, was nicht angekommen ist.",
        (47, 56, 57),
    ),
    "french": (
        "La passerelle tient chaque compte en nombres entiers, afin que mille petites requêtes coûtent exactement ce qu'elles coûtent. Si le flux s'interrompt, le client ne paie rien de ce qui n'est pas arrivé.",
        (47, 53, 55),
    ),
    "russian": (
        "Шлюз ведёт каждый счёт в целых числах, чтобы тысяча мелких запросов стоила ровно столько, сколько они стоят. Если поток обрывается, клиент ничего не платит за то, что не пришло.",
        (50, 56, 60),
    ),
    "chinese": (
        "网关以整数记录每个账户的余额，因此一千个小请求的总和与实际费用完全一致。如果流中断，客户不会为没有收到的内容付费。最后一条消息说明费用和余额。",
        (44, 48, 53),
    ),
    "japanese": (
        "ゲートウェイはすべての口座を整数で管理するので、千件の小さなリクエストの合計は実際の費用と正確に一致します。ストリームが途切れた場合、届かなかった内容の料金は請求されません。",
        (60, 66, 66),
    ),
    "korean": (
        "게이트웨이는 모든 계정을 정수로 관리하므로 작은 요청 천 개의 합계가 실제 비용과 정확히 일치합니다. 스트림이 끊기면 도착하지 않은 내용에 대해서는 요금이 청구되지 않습니다.",
        (53, 54, 63),
    ),
    "python": (
        'def settle(self, exchange_id: str, cost_pusd: int) -> int:\n    hold = self._open.pop(exchange_id, None)\n    if hold is None:\n        raise ValueError(f"exchange {exchange_id} holds nothing")\n    charged = min(cost_pusd, self.available(hold.account))\n    self.posted[hold.account] -= charged\n    return self.available(hold.account)\n',
        (83, 85, 85),
    ),
    "json": (
        '{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1250,"completion_tokens":318,"total_tokens":1568}}',
        (64, 66, 76),
    ),
}


@given(st.integers(0, 10**9))
def test_the_upper_bound_is_above_the_estimate(text_bytes):
    assert tokens_upper(text_bytes) >= estimate_tokens(text_bytes) + FRAME_TOKENS * (text_bytes == 0)
    assert tokens_upper(text_bytes + 1) >= tokens_upper(text_bytes)


@pytest.mark.parametrize("text_bytes", [0, 1, 100, DENSE_BYTES])
def test_no_short_text_can_exceed_the_upper_bound(text_bytes):
    assert tokens_upper(text_bytes) == text_bytes + FRAME_TOKENS


def test_long_texts_are_held_at_three_quarters():
    assert tokens_upper(4_000_000) == 3_000_000 + 1024 + FRAME_TOKENS


def test_nothing_is_nothing():
    assert count_text("") == estimate_tokens(0) == tokens_of_chars(0) == 0
    assert count_text("a") == estimate_tokens(1) == tokens_of_chars(1) == 1


@given(st.text())
def test_counting_takes_any_text_and_grows_with_it(text):
    once = count_text(text)
    assert 0 <= once <= 3 * len(text)
    assert count_text(text + "\nword") >= once


@pytest.mark.parametrize(("text", "counts"), SAMPLES.values(), ids=SAMPLES)
def test_counts_come_near_those_of_real_vocabularies(text, counts):
    low, middle, high = counts
    assert 0.75 * middle <= count_text(text) <= 1.35 * middle
    assert 0.55 * low <= estimate_tokens(len(text.encode())) <= 2.0 * high
    assert tokens_of_chars(len(text)) <= 1.2 * high  # in the customer's favour, or near the truth
    assert high < tokens_upper(len(text.encode())) - FRAME_TOKENS
