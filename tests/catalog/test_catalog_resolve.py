"""How names are read, on a small catalogue of our own."""

from __future__ import annotations

import msgspec
import pytest

from llm_router.catalog.schema import CatalogData, DeploymentRow, ModelRow, PriceRow
from llm_router.catalog.snapshot import Snapshot, compile_snapshot
from llm_router.domain.errors import ModelNotFound
from llm_router.domain.model import Capabilities, Deployment, Model, Provider, Status
from llm_router.domain.price import Price, Rates


def _model(id_: str, *at: DeploymentRow, **more: object) -> ModelRow:
    return ModelRow(
        id=id_, name=id_, family="F", developer="Acme", capabilities=Capabilities(), deployments=at, **more
    )  # type: ignore[arg-type]


def _at(provider: str, upstream: str, **more: object) -> DeploymentRow:
    return DeploymentRow(provider=provider, upstream_model=upstream, **more)  # type: ignore[arg-type]


def _price(deployment: str, rate: int, since: str | None = None) -> PriceRow:
    price = Price(version=f"{deployment}@{since}", rates=Rates(input=rate, output=rate), valid_from=since)
    return PriceRow(deployment=deployment, price=price)


MODELS = (
    _model(
        "swift-2",
        _at(
            "acme",
            "swift-2",
            dated={"swift-2-0101": "swift-2-0101", "swift-2-0202": "swift-2-0202"},
            shutdown="2026-06-01",
        ),
        _at("hub", "acme-inc/Swift-2-Instruct"),
        slugs=("acme", "acme-labs"),
        aliases=("swift", "swift-latest"),
        successor="swift-3",
        shutdown="2026-06-01",
    ),
    _model("swift-3", _at("acme", "swift-3"), slugs=("acme",)),
    _model(
        "old-1",
        _at("acme", "old-1", shutdown="2026-01-01"),
        slugs=("acme",),
        shutdown="2026-01-01",
        successor="old-2",
    ),
    _model(
        "old-2",
        _at("acme", "old-2", shutdown="2026-02-01"),
        slugs=("acme",),
        shutdown="2026-02-01",
        successor="swift-3",
    ),
    _model("lone", _at("acme", "lone", shutdown="2026-02-01"), shutdown="2026-02-01"),
    _model("twin-a", _at("hub", "org-a/twin")),
    _model("twin-b", _at("hub", "org-b/twin")),
)
DATA = CatalogData(
    as_of="2026-03-01",
    providers=(
        Provider(id="acme", name="Acme", base_url="https://acme.test/v1"),
        Provider(id="hub", name="Hub", base_url="https://hub.test/v1"),
    ),
    provider_aliases={"hub_ai": "hub"},
    models=MODELS,
    prices=(
        _price("acme/swift-2", 100, "2025-01-01"),
        _price("acme/swift-2", 80, "2026-02-01"),
        _price("acme/swift-2", 60, "2026-04-01"),
        *(_price(f"{d.provider}/{m.id}", 10) for m in MODELS for d in m.deployments if m.id != "swift-2"),
        _price("hub/swift-2", 120),
    ),
)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return compile_snapshot(DATA)


@pytest.mark.parametrize(
    ("asked", "via", "served"),
    [
        ("swift-2", "id", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("swift", "alias", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("SWIFT-Latest", "alias", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("acme/swift-2", "developer", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("acme-labs/swift", "developer", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("acme-inc/Swift-2-Instruct", "alias", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("swift-2-instruct", "alias", ["acme:swift-2", "hub:acme-inc/Swift-2-Instruct"]),
        ("hub/swift-2", "provider", ["hub:acme-inc/Swift-2-Instruct"]),
        ("hub/swift", "provider", ["hub:acme-inc/Swift-2-Instruct"]),
        ("hub_ai/swift", "provider", ["hub:acme-inc/Swift-2-Instruct"]),
        ("hub/acme-inc/Swift-2-Instruct", "provider", ["hub:acme-inc/Swift-2-Instruct"]),
        ("hub/acme/swift-2", "provider", ["hub:acme-inc/Swift-2-Instruct"]),
        ("swift-2-0101", "alias", ["acme:swift-2-0101", "hub:acme-inc/Swift-2-Instruct"]),
        ("acme/swift-2-0202", "developer", ["acme:swift-2-0202", "hub:acme-inc/Swift-2-Instruct"]),
    ],
)
def test_a_name_leads_to_its_deployments(asked: str, via: str, served: list[str], snapshot: Snapshot) -> None:
    found = snapshot.resolve(asked)
    assert found.asked == asked
    assert found.via == via
    assert [f"{d.provider}:{d.upstream_model}" for d in found.deployments] == served
    assert {d.model for d in found.deployments} == {found.model.id} == {"swift-2"}


@pytest.mark.parametrize("active", [None, {"acme", "hub"}, {"hub"}])
def test_a_developer_s_name_narrows_nothing_whoever_can_be_called(
    active: set[str] | None, snapshot: Snapshot
) -> None:
    for asked in ("acme/swift-2", "acme-labs/swift", "ACME/Swift-2"):
        found = snapshot.resolve(asked, active=active)
        assert (found.via, [d.provider for d in found.deployments]) == ("developer", ["acme", "hub"])
    assert snapshot.resolve("hub/swift-2", active=active).via == "provider"


def test_a_provider_of_the_developer_s_name_comes_first() -> None:
    models = tuple(
        msgspec.structs.replace(m, deployments=tuple(reversed(m.deployments))) if m.id == "swift-2" else m
        for m in MODELS
    )
    turned = compile_snapshot(msgspec.structs.replace(DATA, models=models))
    assert [d.provider for d in turned.resolve("swift-2").deployments] == ["hub", "acme"]
    assert [d.provider for d in turned.resolve("acme/swift-2").deployments] == ["acme", "hub"]


def test_a_developer_s_name_of_a_model_past_its_shutdown_leads_to_its_successor(snapshot: Snapshot) -> None:
    found = snapshot.resolve("acme/old-1", active={"acme"})
    assert (found.model.id, found.via) == ("swift-3", "successor")


def test_a_pinned_snapshot_keeps_deployment_and_price(snapshot: Snapshot) -> None:
    plain, pinned = snapshot.resolve("swift-2"), snapshot.resolve("swift-2-0101")
    assert pinned.deployments[0].id == plain.deployments[0].id
    assert pinned.deployments[0].price == plain.deployments[0].price


def test_a_name_that_two_models_bear_leads_nowhere_without_its_organisation(snapshot: Snapshot) -> None:
    assert snapshot.resolve("org-a/twin").model.id == "twin-a"
    with pytest.raises(ModelNotFound):
        snapshot.resolve("twin")


def test_the_price_of_the_day_is_chosen() -> None:
    def input_rate(day: str) -> int:
        price = compile_snapshot(DATA, today=day).resolve("acme/swift-2").deployments[0].price
        assert price is not None
        return price.rates.input

    assert [input_rate(day) for day in ("2025-05-05", "2026-02-01", "2026-03-31", "2026-04-01")] == [
        100, 80, 80, 60,
    ]  # fmt: skip


def test_the_next_change_is_known() -> None:
    assert compile_snapshot(DATA).next_change == "2026-04-01"
    assert compile_snapshot(DATA, today="2026-04-01").next_change == "2026-06-01"
    assert compile_snapshot(DATA, today="2026-06-01").next_change is None


def test_a_model_past_its_shutdown_goes_to_its_successor(snapshot: Snapshot) -> None:
    found = snapshot.resolve("old-1")
    assert (found.model.id, found.via, found.asked) == ("swift-3", "successor", "old-1")
    assert [d.model for d in found.deployments] == ["swift-3"]
    listed = snapshot.find("old-1")
    assert listed.status is Status.SHUTDOWN
    assert listed.deployments[0].price is not None


def test_a_model_past_its_shutdown_without_successor_is_still_itself(snapshot: Snapshot) -> None:
    assert snapshot.resolve("lone").via == "id"


def test_another_host_serves_a_model_past_its_shutdown() -> None:
    late = compile_snapshot(DATA, today="2026-07-01")
    assert late.models["swift-2"].status is Status.DEPRECATED
    assert [d.provider for d in late.resolve("swift-2").deployments] == ["hub"]
    assert late.resolve("swift-2", active={"hub"}).model.id == "swift-2"
    handed_on = late.resolve("swift-2", active={"acme"})
    assert (handed_on.model.id, handed_on.via) == ("swift-3", "successor")
    assert late.resolve("swift-2", active={"openai"}).model.id == "swift-2"
    assert late.resolve("hub/swift-2", active={"acme"}).via == "provider"


def test_a_dead_model_goes_to_a_living_successor_even_if_that_cannot_be_called(snapshot: Snapshot) -> None:
    assert snapshot.resolve("old-1", active={"hub"}).model.id == "swift-3"


def test_statuses_follow_the_day() -> None:
    early = compile_snapshot(DATA, today="2025-12-31")
    assert early.models["old-1"].status is Status.DEPRECATED
    assert early.resolve("old-1").via == "id"
    assert early.models["swift-3"].status is Status.ACTIVE


@pytest.mark.parametrize(
    "name", ["", "/", "acme/", "hub/swift-3", "nobody/swift-2", "x" * 10_000, "héllo/世界"]
)
def test_an_unknown_name_is_refused_with_a_short_message(name: str, snapshot: Snapshot) -> None:
    with pytest.raises(ModelNotFound) as caught:
        snapshot.resolve(name)
    assert caught.value.param == "model"
    assert caught.value.status == 404
    assert len(caught.value.message) < 300
    assert isinstance(caught.value.details["nearest"], list)


def test_the_message_names_the_nearest(snapshot: Snapshot) -> None:
    with pytest.raises(
        ModelNotFound, match=r"Model 'acme/swift2' is not available\. Nearest: swift-2, swift-3"
    ):
        snapshot.resolve("acme/swift2")


@pytest.mark.parametrize("name", ["hub/swift-3", "hub_ai/swift-3", "HUB/Swift-3"])
def test_a_provider_that_does_not_serve_the_model_is_told_with_those_who_do(
    name: str, snapshot: Snapshot
) -> None:
    with pytest.raises(ModelNotFound) as caught:
        snapshot.resolve(name)
    assert caught.value.message == (
        f"'{name}' is not available: hub does not serve swift-3. It is served by acme; "
        "the nearest that hub serves: hub/swift-2."
    )
    assert caught.value.details == {"nearest": ["hub/swift-2"], "served_by": ["acme"]}
    assert snapshot.resolve("hub/swift-2").deployments


def _own(id_: str, *at: tuple[str, str], aliases: tuple[str, ...] = ()) -> Model:
    served = tuple(
        Deployment(id=f"{p}/{id_}", model=id_, provider=p, upstream_model=u, price=None) for p, u in at
    )
    return Model(
        id=id_, name=id_, family="F", developer="Me", capabilities=Capabilities(), deployments=served, aliases=aliases
    )  # fmt: skip


def test_own_rows_are_added_and_replace() -> None:
    box = Provider(id="box", name="Box", base_url="http://127.0.0.1:9/v1")
    hub = Provider(id="hub", name="Hub", base_url="http://127.0.0.1:8/v1")
    models = (_own("mine", ("box", "m"), aliases=("swift-latest",)), _own("swift-3", ("box", "s3")))
    snapshot = compile_snapshot(DATA, providers=(box, hub), models=models)
    assert snapshot.providers["hub"].base_url == "http://127.0.0.1:8/v1"
    assert snapshot.resolve("swift-3").deployments[0].provider == "box"
    assert snapshot.resolve("swift-latest").model.id == "mine"
    assert snapshot.resolve("swift").model.id == "swift-2"
    assert snapshot.resolve("box/m").via == "provider"
    assert snapshot.resolve("old-1").model.id == "swift-3"
    assert snapshot.resolve("old-1").deployments[0].provider == "box"


def test_an_own_model_under_a_known_id_keeps_its_snapshots() -> None:
    known = compile_snapshot(DATA).models["swift-2"]
    snapshot = compile_snapshot(DATA, models=(known,))
    assert snapshot.resolve("swift-2-0101").deployments[0].upstream_model == "swift-2-0101"
    assert snapshot.resolve("acme-labs/swift").model.id == "swift-2"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ((_own("m", ("nowhere", "x")),), ["'nowhere/m'", "'nowhere'"]),
        ((_own("m"),), ["'m' has no deployment"]),
        ((_own("m", ("hub", "x")), _own("m", ("hub", "y"))), ["'m' is defined twice"]),
        ((_own("m", ("hub", "x"), ("hub", "y")),), ["two deployments 'hub/m'"]),
        ((_own("m", ("hub", "x"), aliases=("swift-2",)),), ["'swift-2'", "'m'"]),
        (
            (_own("m", ("hub", "x"), aliases=("a",)), _own("n", ("hub", "y"), aliases=("a",))),
            ["'a'", "'m'", "'n'"],
        ),
    ],
)
def test_dead_references_and_taken_names_are_errors_that_name_them(
    models: tuple[Model, ...], words: list[str]
) -> None:
    with pytest.raises(ValueError, match="model") as caught:
        compile_snapshot(DATA, models=models)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_successor_is_an_error() -> None:
    own = _own("m", ("hub", "x"))
    with pytest.raises(ValueError, match="unknown successor 'ghost'"):
        compile_snapshot(DATA, models=(msgspec.structs.replace(own, successor="ghost"),))


def test_a_snapshot_cannot_be_changed(snapshot: Snapshot) -> None:
    with pytest.raises(TypeError):
        snapshot.models["x"] = snapshot.models["swift-2"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        snapshot.other = 1  # type: ignore[attr-defined]
