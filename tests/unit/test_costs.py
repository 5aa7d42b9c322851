"""Costs: exact sums at list prices, what is reserved and what is settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.ports.model import Price
from outrider.session import costs
from outrider.session.costs import CENT, MOST, Spending

PRICE = Price(input=3, output=15, cache_read=0.3, cache_write=3.75)
TARIFF = {"input": 3 * 10**6, "output": 15 * 10**6, "cache_read": 3 * 10**5, "cache_write": 375 * 10**4}


def asked(reserve: int = 7) -> Spending:
    spending = Spending()
    costs.begin(spending, costs.tariff_of(PRICE), reserve)
    return spending


def test_a_tariff_is_exact() -> None:
    assert costs.tariff_of(PRICE) == TARIFF
    assert costs.tariff_of(None) is None


def test_each_kind_of_token_has_its_price() -> None:
    usage = {"input_tokens": 1, "output_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 2}
    assert costs.of_usage(TARIFF, usage) == 3_000_000 + 150_000_000 + 30_000_000 + 7_500_000


def test_what_the_model_counted_is_what_is_paid() -> None:
    spending = asked()
    costs.settle(spending, {"input_tokens": 2, "output_tokens": 1})
    assert (spending.settled, spending.reserve, spending.tariff) == (21_000_000, 0, None)


def test_a_request_whose_end_nobody_heard_is_paid_as_it_was_reserved() -> None:
    spending = asked(reserve=12 * CENT)
    costs.settle(spending, {"input_tokens": 0, "output_tokens": 0})
    assert spending.settled == 12 * CENT


@pytest.mark.parametrize("charge", [0, 5])
def test_an_owner_that_lives_says_what_a_request_came_to(charge: int) -> None:
    spending = asked(reserve=12 * CENT)
    spending.charge = charge
    costs.settle(spending, {})
    assert spending.settled == charge
    costs.begin(spending, costs.tariff_of(PRICE), 9)
    costs.settle(spending, {})
    assert spending.settled == charge + 9


def test_without_a_price_nothing_is_known() -> None:
    spending = Spending()
    costs.begin(spending, None, 0)
    costs.settle(spending, {"input_tokens": 100})
    assert (spending.settled, spending.known, spending.unknown) == (0, False, True)


def test_time_at_work_counts() -> None:
    spending = Spending(budget=8, hour=costs.of_hour(0.08))
    assert costs.spent(spending, 3600) == 8 * CENT
    assert costs.capped(spending, 3600)
    assert not costs.capped(spending, 3599.9)


@given(st.integers(min_value=0, max_value=MOST))
def test_amounts_are_rounded_to_whole_cents(cost: int) -> None:
    shown = costs.amount(cost)
    assert abs(int(shown["amount"]) * CENT - cost) <= CENT // 2
    assert shown["currency"] == "USD"


@given(st.integers(min_value=0, max_value=2**62), st.integers(min_value=0, max_value=2**40))
def test_no_sum_outgrows_what_is_stored(settled: int, tokens: int) -> None:
    spending = Spending(settled=settled)
    costs.begin(spending, dict.fromkeys(TARIFF, 10**12), 0)
    costs.settle(spending, {"output_tokens": tokens, "input_tokens": 1})
    assert spending.settled <= MOST
    assert costs.spent(spending, 10.0**9) <= MOST
