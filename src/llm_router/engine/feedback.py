"""What users think of an answer: kept with its exchange, counted for its experiment, learned by ``auto``."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound, Overloaded
from llm_router.domain.key import Key
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.exchange import Engine
from llm_router.engine.moments import iso_time
from llm_router.ports import Document, TreasuryBooks

KIND = "feedback"

WRITE_TRIES = 5
COMMENT_CHARS_MAX = 4000
WORD_CHARS_MAX = 64
TAGS_MAX = 16

_THUMBS = {"up": 1.0, "down": -1.0, "\N{THUMBS UP SIGN}": 1.0, "\N{THUMBS DOWN SIGN}": -1.0}
_MEMBERS = ("score", "scale", "label", "comment", "tags")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of an answer.

    Attributes:
        score: -1 (bad) to 1 (good); None where only words are said.
        scale: in which the score was given.
    """

    score: float | None = None
    scale: Literal["signed", "unit", "thumbs"] = "signed"
    label: str | None = None
    comment: str | None = None
    tags: tuple[str, ...] = ()


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of it. ``key``: whose word it is."""

    id: str
    given: Given
    key: str
    created_ms: int
    updated_ms: int


async def give(engine: Engine, books: TreasuryBooks, key: Key, id_: str, given: Given) -> Feedback:
    """Keep what is said of an exchange, in place of what was said before.

    Raises:
        NotFound: the account has no such exchange.
        Overloaded: others change it at the same time, again and again.
    """
    record = await _record(engine, key, id_)
    for _ in range(WRITE_TRIES):
        known = await books.document(KIND, record.id)
        before = None if known is None else msgspec.json.decode(known.body, type=Feedback)
        if before is not None and before.given == given:
            return before  # said again
        now_ms = engine.clock.now_ms()
        feedback = Feedback(
            id=record.id,
            given=given,
            key=key.id,
            created_ms=now_ms if before is None else before.created_ms,
            updated_ms=now_ms,
        )
        document = Document(
            kind=KIND,
            id=record.id,
            account=record.account,
            version=1 if known is None else known.version + 1,
            open=False,
            created_ms=feedback.created_ms,
            body=msgspec.json.encode(feedback),
        )
        if await books.put_document(document):
            _count(engine, record, given, None if before is None else before.given)
            return feedback
    raise Overloaded("The feedback on this generation is being changed by others. Send it again.")


async def given_to(engine: Engine, books: TreasuryBooks, key: Key, id_: str) -> Feedback:
    """What was said of an exchange.

    Raises:
        NotFound: the account has no such exchange, or nothing was said of it.
    """
    record = await _record(engine, key, id_)
    known = await books.document(KIND, record.id)
    if known is None:
        raise NotFound("No feedback was given on this generation yet.")
    return msgspec.json.decode(known.body, type=Feedback)


def read_given(body: bytes) -> Given:
    """What a request body says.

    Raises:
        InvalidRequest: it says nothing, or something that cannot be; the message says what to change.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest('The request body must be a JSON object such as {"score": 1}.')
    for name in found:
        if name not in _MEMBERS:
            raise InvalidRequest(f"'{name[:60]}' is not known; there are: {', '.join(_MEMBERS)}.", param=name)
    score, scale = _score(found.get("score"), found.get("scale"))
    given = Given(
        score=score,
        scale=scale,
        label=_text(found, "label", WORD_CHARS_MAX),
        comment=_text(found, "comment", COMMENT_CHARS_MAX),
        tags=_tags(found.get("tags")),
    )
    if given.score is None and given.label is None and given.comment is None and not given.tags:
        raise InvalidRequest("Say something: 'score', 'label', 'comment' or 'tags'.", param="score")
    return given


def feedback_entry(feedback: Feedback) -> dict[str, object]:
    """The feedback as its owner sees it."""
    given = feedback.given
    return {
        "object": "generation.feedback",
        "generation": feedback.id,
        "score": given.score,
        "scale": given.scale,
        "label": given.label,
        "comment": given.comment,
        "tags": list(given.tags),
        "created": iso_time(feedback.created_ms),
        "updated": iso_time(feedback.updated_ms),
    }


async def _record(engine: Engine, key: Key, id_: str) -> ExchangeRecord:
    record = await engine.books.generation(key.account, id_)
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    return record


def _count(engine: Engine, record: ExchangeRecord, given: Given, before: Given | None) -> None:
    """Tell the experiment and the router of a score. One that was said before is taken back where sums are
    kept; what the router learned of it stays, and is outweighed in time."""
    experiments = engine.experiments
    if experiments is not None and record.trial is not None and record.arm is not None:
        run, _, group = record.trial.rpartition("/")
        if before is not None and before.score is not None:
            experiments.rated(run, record.arm, int(group), before.score, before.label, times=-1)
        if given.score is not None:
            experiments.rated(run, record.arm, int(group), given.score, given.label)
    changed = given.score is not None and (before is None or before.score != given.score)
    if changed and given.score is not None and record.features is not None and record.model is not None:
        model = engine.state.snapshot.models.get(record.model)
        tier = None if model is None else model.quality_tier
        router = engine.planner.autos.router
        router.observe(record.features, record.model, tier, (given.score + 1) / 2)


def _score(score: object, scale: object) -> tuple[float | None, Literal["signed", "unit", "thumbs"]]:
    """The score from -1 to 1, and the scale in which it was given."""
    if scale not in (None, "signed", "unit"):
        raise InvalidRequest(
            '\'scale\' must be "signed" (-1 to 1, as without it) or "unit" (0 to 1).', param="scale"
        )
    if score is None:
        return None, "signed"
    if isinstance(score, bool):
        raise InvalidRequest('\'score\' must be a number, "up" or "down", not true or false.', param="score")
    if isinstance(score, str):
        if score not in _THUMBS:
            raise InvalidRequest('\'score\' must be a number, "up" or "down".', param="score")
        return _THUMBS[score], "thumbs"
    low = 0 if scale == "unit" else -1
    if not isinstance(score, int | float) or not low <= score <= 1:  # as it is: no float is that large
        raise InvalidRequest(
            f'\'score\' must be from {low} (bad) to 1 (good), or "up" or "down".'
            + (' With "scale": "unit" it is from 0 to 1.' if low else ""),
            param="score",
        )
    return (2.0 * score - 1, "unit") if scale == "unit" else (float(score), "signed")


def _text(found: dict[str, Any], name: str, chars_max: int) -> str | None:
    text = found.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not 0 < len(text) <= chars_max:
        raise InvalidRequest(f"'{name}' must be a text of 1 to {chars_max} characters.", param=name)
    return text


def _tags(tags: object) -> tuple[str, ...]:
    if tags is None:
        return ()
    if not isinstance(tags, list) or len(tags) > TAGS_MAX:
        raise InvalidRequest(f"'tags' must be a list of at most {TAGS_MAX} words.", param="tags")
    for tag in tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= WORD_CHARS_MAX:
            raise InvalidRequest(
                f"Each of 'tags' must be a text of 1 to {WORD_CHARS_MAX} characters.", param="tags"
            )
    return tuple(dict.fromkeys(tags))
