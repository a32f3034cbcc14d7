"""The rules of subscriptions, alerts and deliveries, each as a test that names it."""

from contextlib import suppress
from datetime import UTC, date, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st
from notifications.commands import (
    CallOff,
    ConfirmSubscription,
    DeliveryCommand,
    GiveUp,
    MarkFailed,
    MarkSent,
    Parcel,
    RaiseAlert,
    RequestSubscription,
    SendAgain,
    StopSubscription,
    WithdrawAlert,
)
from notifications.delivery.patience import LONGEST_CODE_PAUSE_S, LONGEST_PAUSE_S, Patience
from notifications.domain import (
    ALERT,
    DELIVERY,
    SUBSCRIPTION,
    area_and_above,
    one_of_each_contact,
    reaches,
)
from notifications.domain.delivery import Past, Pending
from notifications.domain.subscription import waits_for_code
from notifications.reactions import but_for_outdated, draft
from rembuk.contracts.forums import ForumHeld
from rembuk.contracts.notifications import (
    CODEC,
    AlertRaised,
    AlertWithdrawn,
    Bilingual,
    ConfirmationRefused,
    DeliveryCalledOff,
    DeliveryEvent,
    DeliveryFailed,
    DeliveryGivenUp,
    DeliveryRequeued,
    DeliverySent,
    RecipientsAdded,
    SubscriptionConfirmed,
    SubscriptionRequested,
    SubscriptionStopped,
)
from rembuk.contracts.privacy import PersonErased
from rembuk.contracts.reports import ProblemRejected, ProblemReported, SolutionApplied
from rembuk.events.codec import MAX_EVENT_BYTES
from rembuk.events.decider import Refused
from rembuk.events.event import Event, Metadata, RecordedEvent
from rembuk.flow.reactions import Wish
from rembuk.settings import BadSetting, DeliverySettings, read_settings
from rembuk.testing.scenario import Scenario

AREA = "35.78.08"
WORDS = Bilingual("Awas", "Beware")
SUBSCRIPTION_ID, ALERT_ID = UUID(int=1), UUID(int=2)
PARCEL = Parcel(AREA, SUBSCRIPTION_ID, ALERT_ID)

subscription = Scenario(SUBSCRIPTION)
alert = Scenario(ALERT)
delivery = Scenario(DELIVERY)
requested = SubscriptionRequested(AREA, "email", "sealed", ("theft",), "id")
failed = DeliveryFailed(AREA, SUBSCRIPTION_ID, 1, "HTTP 503", ALERT_ID)
sent = DeliverySent(AREA, SUBSCRIPTION_ID, 1, ALERT_ID)
given_up = DeliveryGivenUp(AREA, SUBSCRIPTION_ID, 2, "HTTP 503", ALERT_ID)
called_off = DeliveryCalledOff(AREA, SUBSCRIPTION_ID, 0, "stopped", ALERT_ID)


def test_a_subscription_begins_by_being_requested() -> None:
    wish = RequestSubscription(AREA, "email", "sealed", ("theft",), "id")
    subscription.given().when(wish).then(requested)
    subscription.given(requested).when(wish).refused("already-requested")


def test_nobody_subscribes_to_a_category_that_there_is_not() -> None:
    wish = RequestSubscription(AREA, "email", "sealed", ("sorcery",), "id")
    subscription.given().when(wish).refused("unknown-category", "categories")


def test_the_right_code_confirms() -> None:
    subscription.given(requested).when(ConfirmSubscription(True)).then(SubscriptionConfirmed())


def test_a_wrong_code_is_recorded_and_the_right_one_may_follow() -> None:
    subscription.given(requested).when(ConfirmSubscription(False)).then(ConfirmationRefused())
    refused = [ConfirmationRefused()] * 4
    subscription.given(requested, *refused).when(ConfirmSubscription(True)).then(SubscriptionConfirmed())


def test_after_five_wrong_codes_not_even_the_right_one_is_taken() -> None:
    guessed = subscription.given(requested, *[ConfirmationRefused()] * 5)
    guessed.when(ConfirmSubscription(True)).refused("too-many-wrong-codes")
    asked = [
        [requested],
        [requested, *[ConfirmationRefused()] * 4],
        guessed.events,
        [requested, SubscriptionConfirmed()],
    ]
    assert [waits_for_code(SUBSCRIPTION.fold(events)) for events in asked] == [True, True, False, False]


def test_what_is_confirmed_or_stopped_is_not_confirmed_again() -> None:
    confirmed = subscription.given(requested, SubscriptionConfirmed())
    confirmed.when(ConfirmSubscription(True)).refused("already-confirmed")
    stopped = subscription.given(requested, SubscriptionStopped())
    stopped.when(ConfirmSubscription(True)).refused("already-stopped")
    subscription.given().when(ConfirmSubscription(True)).refused("unknown-subscription")


def test_a_subscription_is_stopped_once_confirmed_or_not_and_its_contact_erased_with_it() -> None:
    stop, gone = StopSubscription(UUID(int=7)), StopSubscription(UUID(int=7), "gone")
    subscription.given(requested).when(stop).then(
        PersonErased(requested.area, UUID(int=7), "request"), SubscriptionStopped()
    )
    confirmed = subscription.given(requested, SubscriptionConfirmed())
    confirmed.when(gone).then(PersonErased(requested.area, UUID(int=7), "other"), SubscriptionStopped("gone"))
    subscription.given(requested, SubscriptionStopped()).when(stop).then()
    expire = StopSubscription(UUID(int=7), "expired")
    subscription.given(requested).when(expire).then(
        PersonErased(requested.area, UUID(int=7), "retention"), SubscriptionStopped("expired")
    )
    subscription.given(requested, SubscriptionConfirmed()).when(expire).refused("already-confirmed")
    subscription.given().when(stop).refused("unknown-subscription")


def test_an_alert_is_raised_once_and_each_recipient_named_once() -> None:
    wish = RaiseAlert(AREA, WORDS, WORDS, (SUBSCRIPTION_ID, SUBSCRIPTION_ID), category="theft")
    raised = AlertRaised(AREA, WORDS, WORDS, (SUBSCRIPTION_ID,), category="theft")
    alert.given().when(wish).then(raised)
    alert.given(raised).when(wish).refused("already-raised")


def test_an_alert_is_withdrawn_once() -> None:
    raised, withdrawn = AlertRaised(AREA, WORDS, WORDS, (SUBSCRIPTION_ID,)), AlertWithdrawn("rejected")
    alert.given(raised).when(WithdrawAlert("rejected")).then(withdrawn)
    alert.given(raised, withdrawn).when(WithdrawAlert("superseded")).then()
    alert.given().when(WithdrawAlert("rejected")).refused("unknown-alert")


def test_an_alert_names_a_category_that_there_is() -> None:
    alert.given().when(RaiseAlert(AREA, WORDS, WORDS, (), category="sorcery")).refused("unknown-category", "category")


def test_nobody_is_alerted_of_a_sensitive_category_by_hand_either() -> None:
    wish = RaiseAlert(AREA, WORDS, WORDS, (), category="domestic_violence")
    alert.given().when(wish).refused("sensitive-category", "category")


def test_an_alert_for_many_is_still_one_alert_and_every_event_fits_the_log() -> None:
    many = tuple(UUID(int=2**127 + n) for n in range(10_001))
    events = ALERT.decide(RaiseAlert(AREA, WORDS, WORDS, many), ALERT.initial)
    assert [type(event) for event in events] == [AlertRaised, RecipientsAdded, RecipientsAdded]
    assert [len(event.recipients) for event in events] == [5_000, 5_000, 1]
    assert tuple(one for event in events for one in event.recipients) == many
    assert max(len(CODEC.encode(event)) for event in events) < MAX_EVENT_BYTES / 2
    assert len(ALERT.decide(RaiseAlert(AREA, WORDS, WORDS, many[:5_000]), ALERT.initial)) == 1


def test_a_delivery_fails_until_it_is_sent() -> None:
    delivery.given().when(MarkFailed(PARCEL, 1, "HTTP 503")).then(failed)
    delivery.given(failed).when(MarkSent(PARCEL, 2)).then(DeliverySent(AREA, SUBSCRIPTION_ID, 2, ALERT_ID))


def test_what_was_sent_or_given_up_stays_so() -> None:
    for last in (sent, given_up, called_off):
        for wish in (
            MarkSent(PARCEL, 2),
            MarkFailed(PARCEL, 2, "x"),
            GiveUp(PARCEL, 2, "x"),
            CallOff(PARCEL, "stopped"),
        ):
            delivery.given(last).when(wish).refused("already-settled")


def test_what_was_given_up_is_tried_again_when_an_operator_asks_and_attempts_go_on_being_counted() -> None:
    again = SendAgain(PARCEL, "operator")
    requeued = DeliveryRequeued(AREA, SUBSCRIPTION_ID, "operator", ALERT_ID)
    delivery.given(failed, given_up).when(again).then(requeued)
    delivery.given(failed, given_up, requeued).when(again).then()
    third = DeliverySent(AREA, SUBSCRIPTION_ID, 3, ALERT_ID)
    delivery.given(failed, given_up, requeued).when(MarkSent(PARCEL, 3)).then(third)
    delivery.given(failed, given_up, requeued, third).when(again).refused("already-sent")
    delivery.given(called_off).when(again).refused("no-longer-to-be-sent")


@examples(
    st.lists(
        st.sampled_from(["sent", "failed", "given up", "called off"]) | st.sampled_from(["operator", "subscriber"]),
        max_size=25,
    )
)
def test_whatever_is_asked_a_delivery_is_sent_once_and_once_more_each_time_it_begins_again(wishes: list[str]) -> None:
    events: list[DeliveryEvent] = []
    for wish in wishes:
        past = DELIVERY.fold(events).past
        commands: dict[str, DeliveryCommand] = {
            "sent": MarkSent(PARCEL, past.attempts + 1),
            "failed": MarkFailed(PARCEL, past.attempts + 1, "HTTP 503"),
            "given up": GiveUp(PARCEL, past.attempts + 1, "HTTP 503"),
            "called off": CallOff(PARCEL, "stopped"),
            "operator": SendAgain(PARCEL, "operator"),
            "subscriber": SendAgain(PARCEL, "subscriber"),
        }
        with suppress(Refused):
            events += DELIVERY.decide(commands[wish], DELIVERY.fold(events))
    kinds = [type(event) for event in events]
    assert kinds.count(DeliverySent) <= 1 + kinds.count(DeliveryRequeued)
    assert DeliveryCalledOff not in kinds[:-1]
    attempts = [event.attempt for event in events if isinstance(event, DeliverySent | DeliveryFailed | DeliveryGivenUp)]
    assert attempts == list(range(1, len(attempts) + 1))


def test_a_code_is_sent_again_to_who_asks_whatever_became_of_it() -> None:
    again = SendAgain(PARCEL, "subscriber")
    requeued = DeliveryRequeued(AREA, SUBSCRIPTION_ID, "subscriber", ALERT_ID)
    for last in (sent, given_up):
        delivery.given(last).when(again).then(requeued)
        delivery.given(last, requeued).when(again).then()
    delivery.given().when(again).then()


def test_who_is_asked_again_has_as_many_attempts_as_at_first_and_pauses_count_what_a_subscriber_asked() -> None:
    for by, asked in ("operator", 0), ("subscriber", 1):
        requeued = DeliveryRequeued(AREA, SUBSCRIPTION_ID, by, ALERT_ID)  # type: ignore[arg-type]
        assert DELIVERY.fold([failed, given_up, requeued]) == Pending(Past(AREA, attempts=2, asked=asked), before=2)
        assert DELIVERY.fold([sent, requeued]).past == Past(AREA, attempts=1, sendings=1, asked=asked)
    assert DELIVERY.fold([]) == Pending(Past(), before=0)


def test_attempts_are_recorded_in_their_order() -> None:
    delivery.given(failed).when(MarkSent(PARCEL, 1)).refused("not-the-next-attempt")
    delivery.given(failed).when(MarkFailed(PARCEL, 3, "x")).refused("not-the-next-attempt")


def test_an_area_lies_in_everything_above_it() -> None:
    assert area_and_above("35.78.08.1004") == ["35", "35.78", "35.78.08", "35.78.08.1004"]


@examples(st.lists(st.sampled_from(["theft", "noise"])).map(tuple), st.sampled_from(["", "theft", "noise"]))
def test_categories_only_ever_narrow_what_a_subscriber_hears(categories: tuple[str, ...], category: str) -> None:
    assert reaches(categories, category) == (category == "" or categories == () or category in categories)


@examples(st.lists(st.sampled_from([b"", b"a", b"b", b"c"])))
def test_each_contact_is_told_by_its_first_subscription_and_whoever_has_no_mark_by_each(marks: list[bytes]) -> None:
    subscriptions = [(UUID(int=number), mark) for number, mark in enumerate(marks)]
    told = one_of_each_contact(subscriptions)
    assert set(told) == {id for id, mark in subscriptions if not mark or marks.index(mark) == id.int}
    assert len(told) == len(set(told))


def test_pauses_grow_and_are_capped() -> None:
    patience = Patience(8, 1.0)
    assert [patience.pause(n) for n in (1, 2, 3)] == [1, 4, 16]
    assert patience.pause(10_000) == LONGEST_PAUSE_S
    assert [patience.code_pause(n) for n in (0, 1, 2, 10_000)] == [60, 240, 960, LONGEST_CODE_PAUSE_S]


def test_patience_is_told_by_the_environment() -> None:
    assert Patience.of(read_settings(DeliverySettings, {})) == Patience(8, 1.0)
    told = {"REMBUK_DELIVERY_ATTEMPTS": "3", "REMBUK_DELIVERY_BACKOFF_S": "0.5"}
    assert Patience.of(read_settings(DeliverySettings, told)) == Patience(3, 0.5)
    assert read_settings(DeliverySettings, {"REMBUK_DELIVERY_ATTEMPTS": ""}) == DeliverySettings()
    for setting, nonsense in (
        ("ATTEMPTS", ("many", "0", "1.5", "-1")),
        ("BACKOFF_S", ("nan", "inf", "-1", "1e400", "x")),
    ):
        for text in nonsense:
            name = f"REMBUK_DELIVERY_{setting}"
            with pytest.raises(BadSetting, match=rf"{name} is '{text}', and has to be a (whole )?number from [01] to "):
                read_settings(DeliverySettings, {name: text})


def recorded(event: Event) -> RecordedEvent[Event]:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return RecordedEvent(1, UUID(int=7), UUID(int=8), 1, AREA, now, event, Metadata())


def report(category: str = "theft", disclosure: str = "public") -> ProblemReported:
    return ProblemReported(AREA, category, "Pak Budi maling", "Saya lihat sendiri", disclosure, reporter="sealed")  # type: ignore[arg-type]


def solution(category: str = "theft", disclosure: str = "public") -> SolutionApplied:
    first, last = date(2026, 3, 1), date(2026, 3, 2)
    return SolutionApplied(
        category,
        disclosure,
        "Pak Budi dibina",
        ("partnership",),
        ("officer",),
        (),
        first,
        last,  # type: ignore[arg-type]
    )


def test_an_alert_never_repeats_what_somebody_wrote_in_a_report() -> None:
    for event in (report(), solution()):
        raised = draft(recorded(event))
        assert raised is not None
        said = str((raised.headline, raised.text))
        assert "Pencurian" in said
        assert "Theft" in said
        assert "Gubeng" in said
        assert "Budi" not in said
        assert raised.about == UUID(int=8)


def test_nothing_is_raised_of_what_a_later_event_of_the_same_problem_leaves_untrue() -> None:
    rejected = ProblemRejected("not_a_problem", "Bukan pencurian")
    facts = [recorded(event) for event in (report(), rejected, report())]
    facts.append(msgspec.structs.replace(recorded(rejected), stream_id=UUID(int=9)))
    wishes = [[Wish(ALERT, UUID(int=n), RaiseAlert(AREA, WORDS, WORDS, (), source_type="ProblemReported"), "raise")]
              for n in range(3)]  # fmt: skip
    assert but_for_outdated(facts, [*wishes, []]) == [[], wishes[1], wishes[2], []]


@pytest.mark.parametrize(
    "event",
    [
        report("domestic_violence"),
        report("narcotics"),
        report("inter_group_conflict"),
        report(disclosure="forum"),
        report(disclosure="officer"),
        report(disclosure="commander"),
        report("a_category_of_the_future"),
        report(disclosure="a_disclosure_of_the_future"),
        solution("narcotics"),
        solution(disclosure="forum"),
        solution(disclosure="officer"),
        solution("a_category_of_the_future"),
    ],
)
def test_the_public_is_not_told_of_what_is_sensitive_confidential_or_unknown(event: Event) -> None:
    assert draft(recorded(event)) is None


def test_a_forum_that_met_is_told_to_everybody_of_its_area() -> None:
    raised = draft(recorded(ForumHeld(UUID(int=9), AREA, (), ())))
    assert raised is not None
    assert (raised.area, raised.category) == (AREA, "")
