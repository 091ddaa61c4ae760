"""Experiments on live traffic: which arm a request gets, and what is counted of it.

    trial ──── before a request is planned: its arm, written into it      routing/experiments/split.py
    ended ──── after its answer: counted in memory; copies of a shadow    engine/shadows.py
      save ─── every few seconds: what was counted is added to the stored figures; the guard looks at them

What runs is known from memory, and read again every second, so that a request that is in no experiment pays for
one look at an empty table. Several processes add to the same figures, each what it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from hashlib import blake2b

import msgspec

from llm_router.domain.errors import LedgerUnavailable, RouterError
from llm_router.domain.experiment import Arm, Ending, Experiment
from llm_router.domain.key import Key
from llm_router.domain.preset import Preset
from llm_router.domain.record import ExchangeRecord
from llm_router.engine.admit import Call, payer_of
from llm_router.ports import Clock, Document, TreasuryBooks
from llm_router.routing.experiments.figures import ArmFigures, Figures, count_rating, count_record
from llm_router.routing.experiments.guard import worse
from llm_router.routing.experiments.split import arm_of, group_of
from llm_router.routing.query import read_query
from llm_router.wire.dialect import Inspected
from llm_router.wire.presets import fill
from llm_router.wire.verbatim import members, value

KIND, ENDINGS, FIGURES = "experiment", "experiment_end", "experiment_figures"
"""Kinds of documents: definitions by name; that a run is over, and its figures, by run."""

LOOK_S = 1.0
"""How often a process looks what runs."""

SAVE_S = 2.0
"""How often it adds what it counted."""

WRITE_TRIES = 5
WRITERS_MAX = 64
"""Processes whose last addition is known."""

UNIT_CHARS_MAX = 512


class Trial(msgspec.Struct, kw_only=True):
    """The part of one request in an experiment.

    Attributes:
        run: of the experiment; group: of what keeps the arm.
        call: the request as its client sent it; key: whose it is.
        left: the arm could not serve it, so that it is served as if there were no experiment.
    """

    experiment: Experiment
    run: str
    arm: Arm
    group: int
    call: Call
    key: Key
    inspected: Inspected
    left: bool = False


class Kept(msgspec.Struct, kw_only=True):
    """The figures of a run as they are stored. ``writers``: the last addition of each process, by its name, so
    that one whose fate was not heard of is not made twice."""

    figures: Figures
    writers: dict[str, int] = {}


class Experiments:
    """The experiments of a process.

    Attributes:
        running: by what they are of.
    """

    def __init__(
        self,
        books: TreasuryBooks,
        clock: Clock,
        name: str,
        configured: Callable[[], Mapping[str, Experiment]],
        say: Callable[[str], None],
    ) -> None:
        self._books = books
        self._clock = clock
        self._name = name
        self._configured = configured
        self._say = say
        self._counted: dict[str, Figures] = {}
        self._sent: dict[str, tuple[int, Figures]] = {}
        self._numbers: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.running: Mapping[str, Experiment] = {}

    # -- a request ---------------------------------------------------------------------------------

    def trial(self, call: Call, key: Key, inspected: Inspected) -> Trial | None:
        """The part of a request in an experiment; None if it has none."""
        if call.operation != "chat":
            return None
        experiment = self._of(inspected)
        if experiment is None:
            return None
        unit = unit_of(experiment, call, key, inspected)
        arm = arm_of(experiment, unit)
        if arm is None:
            return None
        return Trial(
            experiment=experiment,
            run=experiment.run,
            arm=arm,
            group=group_of(experiment.name, unit),
            call=call,
            key=key,
            inspected=inspected,
        )

    def _of(self, inspected: Inspected) -> Experiment | None:
        model, routing = inspected.model, inspected.routing
        if "@" not in model and "preset" not in routing:
            return None if "models" in routing else self.running.get(model)
        try:
            query = read_query(model, routing)
        except RouterError:
            return None  # it is refused for it in its time
        if query.names or query.preset is None or query.preset.version is not None:
            return None
        return self.running.get(f"@{query.preset.name}")

    # -- what is counted ---------------------------------------------------------------------------

    def ended(self, trial: Trial, record: ExchangeRecord) -> None:
        """An exchange that took part has ended."""
        if trial.left:
            self.left(trial)
        else:
            count_record(self._arm(trial.run, trial.arm.name), trial.group, record, record.cost_pusd)

    def left(self, trial: Trial, arm: str | None = None) -> None:
        """The arm could not serve it."""
        name = trial.arm.name if arm is None else arm
        self._arm(trial.run, name).count(trial.group, left=1)

    def skipped(self, trial: Trial, arm: str) -> None:
        """No copy was made."""
        self._arm(trial.run, arm).count(trial.group, skipped=1)

    def copied(self, trial: Trial, arm: str, record: ExchangeRecord, worth_pusd: int) -> None:
        """A copy has ended; ``worth_pusd``: what the customer would have paid."""
        count_record(self._arm(trial.run, arm), trial.group, record, worth_pusd)

    def rated(
        self, run: str, arm: str, group: int, score: float, label: str | None, *, times: int = 1
    ) -> None:
        """An answer was rated; ``times`` -1: the rating is taken back."""
        count_rating(self._arm(run, arm), group, score, label, times)

    def _arm(self, run: str, arm: str) -> ArmFigures:
        found = self._counted.get(run)
        if found is None:
            found = self._counted[run] = Figures()
        return found.arm(arm)

    # -- the store ---------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Find out what runs, and go on doing so."""
        await self.look()
        self._task = asyncio.get_running_loop().create_task(self._work(), name="experiments")

    async def close(self) -> None:
        """Store what was counted."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.save()

    async def look(self) -> None:
        """See what runs now. What the store does not say stays as it was."""
        with contextlib.suppress(LedgerUnavailable):
            stored = await self._books.documents(KIND, open_only=True)
            found = {d.id: known for d in stored if (known := _read(d)) is not None}
            found |= self._configured()
            running: dict[str, Experiment] = {}
            for experiment in found.values():
                if await self._books.document(ENDINGS, experiment.run) is None:
                    running.setdefault(experiment.of, experiment)
            self.running = running

    async def save(self) -> None:
        """Add what was counted since the last time. What the store does not take is tried again."""
        for run, figures in list(self._counted.items()):
            if run not in self._sent:
                del self._counted[run]
                self._numbers[run] = self._numbers.get(run, 0) + 1
                self._sent[run] = (self._numbers[run], figures)
        for run, (number, figures) in list(self._sent.items()):
            with contextlib.suppress(LedgerUnavailable):
                kept = await self._add(run, number, figures)
                if kept is not None:
                    del self._sent[run]
                    await self._guard(run, kept.figures)

    async def _add(self, run: str, number: int, figures: Figures) -> Kept | None:
        """Add to the stored figures; None if others are faster again and again."""
        for _ in range(WRITE_TRIES):
            known = await self._books.document(FIGURES, run)
            kept = Kept(figures=Figures()) if known is None else msgspec.json.decode(known.body, type=Kept)
            if kept.writers.get(self._name) == number:
                return kept
            kept.figures.add(figures)
            kept.writers.pop(self._name, None)
            kept.writers[self._name] = number
            while len(kept.writers) > WRITERS_MAX:
                del kept.writers[next(iter(kept.writers))]
            document = Document(
                kind=FIGURES,
                id=run,
                account="",
                version=1 if known is None else known.version + 1,
                open=False,
                created_ms=self._clock.now_ms() if known is None else known.created_ms,
                body=msgspec.json.encode(kept),
            )
            if await self._books.put_document(document):
                return kept
        return None

    async def _guard(self, run: str, figures: Figures) -> None:
        """Stop a canary that is clearly worse."""
        experiment = next((each for each in self.running.values() if each.run == run), None)
        if experiment is None or experiment.kind != "canary":
            return
        reason = worse(experiment, figures)
        if reason is None:
            return
        ending = Ending(ended_ms=self._clock.now_ms(), by="guard", reason=reason)
        if await end_run(self._books, experiment, ending):
            self._say(f"experiment {experiment.name} was stopped: {reason}")
        self.running = {of: each for of, each in self.running.items() if each is not experiment}

    async def _work(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            await self.look()
            if looks % round(SAVE_S / LOOK_S) == 0:
                await self.save()


def _read(document: Document) -> Experiment | None:
    """A stored experiment; None if a gateway of another version made it, and says what this one cannot read."""
    try:
        return msgspec.json.decode(document.body, type=Experiment)
    except msgspec.MsgspecError:
        return None


async def end_run(books: TreasuryBooks, experiment: Experiment, ending: Ending) -> bool:
    """Write down that a run is over; False if it was already."""
    body, ended_ms = msgspec.json.encode(ending), ending.ended_ms
    done = await books.put_document(
        Document(
            kind=ENDINGS,
            id=experiment.run,
            account="",
            version=1,
            open=False,
            created_ms=ended_ms,
            body=body,
        )
    )
    known = await books.document(KIND, experiment.name)
    if known is not None and known.open:  # so that nobody needs to look for its end any more
        await books.put_document(msgspec.structs.replace(known, version=known.version + 1, open=False))
    return done


def unit_of(experiment: Experiment, call: Call, key: Key, inspected: Inspected) -> str:
    """What of a request keeps its arm. Without a session it is the person, without one the key."""
    match experiment.sticky:
        case "request":
            return f"{key.account}\0body\0{blake2b(call.body).hexdigest()}"
        case "session":
            session = payer_of(key, call).session or inspected.routing.get("session_id")
            if isinstance(session, str) and session:
                return f"{key.account}\0session\0{session[:UNIT_CHARS_MAX]}"
        case "key":
            return f"{key.account}\0key\0{key.id}"
    user = _user(call.body) or key.user
    return f"{key.account}\0key\0{key.id}" if user is None else f"{key.account}\0user\0{user}"


def _user(body: bytes) -> str | None:
    """The person on whose behalf the request is made, in the words of any of the APIs."""
    found = members(body) or {}
    metadata = value(found["metadata"]) if "metadata" in found else None
    said = [value(found[name]) for name in ("user", "safety_identifier") if name in found]
    if isinstance(metadata, dict):
        said.append(metadata.get("user_id"))
    return next((each[:UNIT_CHARS_MAX] for each in said if isinstance(each, str) and each), None)


def armed(experiment: Experiment, arm: Arm, call: Call, inspected: Inspected) -> tuple[Call, Inspected]:
    """The request with an arm written into it, inspected again.

    Raises:
        InvalidRequest: what it fills in is refused.
    """
    if arm.plain:
        return call, inspected
    model, in_path = _model(experiment, arm, inspected), call.path_model is not None
    said = Preset(name=experiment.name, system=arm.system, parameters=arm.parameters, provider=arm.provider)
    body, losses = fill(call.dialect.name, call.body, said, model, in_path=in_path)
    call = msgspec.structs.replace(call, body=body, path_model=model if in_path else None)
    again: Inspected = call.dialect.inspect(body, call.path_model, call.path_stream)
    again.losses = (*again.losses, *losses)
    again.json_array, again.keeps_state = call.json_array, call.state is not None
    return call, again


def _model(experiment: Experiment, arm: Arm, inspected: Inspected) -> str:
    """The model string of an arm. One without a preset of its own keeps that of the experiment."""
    preset = experiment.of.removeprefix("@") if experiment.of.startswith("@") else None
    if arm.model is None:
        return experiment.of
    return arm.model if preset is None or "@" in arm.model else f"{arm.model}@preset/{preset}"


def with_dial(arm: Arm, preset: Preset | None) -> Preset | None:
    """The preset of an exchange with the dial of an arm."""
    if arm.dial is None:
        return preset
    return msgspec.structs.replace(preset or Preset(name=arm.name), dial=arm.dial)
