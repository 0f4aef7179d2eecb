"""The buy-side desk's process: opens RFQs, reads the scores, follows the recommended action, reports each as JSON.

``python -m rfq_service.demo.desk COUNT SEED``; the service's address and its key come from the environment.
"""

from __future__ import annotations

import json
import random
import sys
import time
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from rfq_service.demo.client import Client, Refused

_PATIENCE_S = 4.0
_POLL_S = 0.1
# Sizes in multiples of what rests on the best five levels: from a clip to a block the book cannot take.
_SIZES_PER_DEPTH = (0.25, 0.5, 1.0, 2.0)


def main() -> None:
    """Run ``COUNT`` RFQs one after the other and print one JSON line each."""
    count, draws = int(sys.argv[1]), random.Random(int(sys.argv[2]))  # noqa: S311
    client = Client()
    markets = [row for row in client.get("/v1/board")["items"] if _is_usable(row)]
    if not markets:
        raise SystemExit("desk: no instrument has a live market with statistics")
    instruments = {item["instrument_id"]: item for item in client.get("/v1/instruments")["items"]}
    draws.shuffle(markets)
    for number in range(count):
        market = markets[number % len(markets)]
        order = _order(number, market, instruments[market["instrument_id"]], draws)
        print(json.dumps(_run(client, order)), flush=True)


def _is_usable(row: dict[str, Any]) -> bool:
    figures = row.get("statistics") or {}
    needed = ("volatility_bps_sqrt_day", "volume_per_day_notional", "depth_notional")
    return row["status"] == "live" and all(figures.get(name) for name in needed)


def _order(number: int, market: dict[str, Any], instrument: dict[str, Any], draws: random.Random) -> dict[str, Any]:
    """A request: mostly one-way blocks; every sixth hides its side."""
    side = "two_way" if number % 6 == 5 else draws.choice(("buy", "sell"))
    notional = Decimal(market["statistics"]["depth_notional"]) * Decimal(draws.choice(_SIZES_PER_DEPTH))
    per_unit = Decimal(instrument["multiplier"])
    if instrument["contract_type"] == "linear":
        per_unit *= Decimal(market["mid"])
    lot = Decimal(instrument["lot_size"])
    quantity = (notional / per_unit / lot).to_integral_value(rounding=ROUND_FLOOR) * lot
    quantity = min(max(quantity, Decimal(instrument["quantity_min"])), Decimal(instrument["quantity_max"]))
    return {
        "legs": [{"instrument_id": market["instrument_id"]}],
        "side": side,
        "quantity": f"{quantity:f}",
        # finer than the book's tick, as blocks are negotiated
        "price_increment": f"{Decimal(instrument['tick_size']) / 10:f}",
        "size_mode": "any_part" if number % 4 == 3 else "all_or_none",
        "expires_in_s": "30",
        "client_reference": f"demo-{number + 1}",
    }


def _run(client: Client, order: dict[str, Any]) -> dict[str, Any]:
    opened = client.post("/v1/rfqs", order)
    rfq_id = opened["rfq"]["rfq_id"]
    ranked = _wait_for_quotes(client, rfq_id, len(opened["panel"]))
    decision = ranked["decision"]
    report: dict[str, Any] = {"order": order, "ranked": ranked, "fill": None, "refused": None}
    try:
        report["fill"] = _follow(client, rfq_id, order, decision)
        if report["fill"] is None:
            client.post(f"/v1/rfqs/{rfq_id}/cancel")
    except Refused as refused:
        report["refused"] = str(refused)
    report["rfq"] = client.get(f"/v1/rfqs/{rfq_id}")["rfq"]
    return report


def _wait_for_quotes(client: Client, rfq_id: str, panel: int) -> dict[str, Any]:
    """The ranked quotes once everybody has answered, or patience is at its end."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        ranked: dict[str, Any] = client.get(f"/v1/rfqs/{rfq_id}/quotes")
        if len({item["quote"]["dealer"] for item in ranked["quotes"]}) >= panel or time.monotonic() > deadline:
            return ranked
        time.sleep(_POLL_S)


def _follow(
    client: Client, rfq_id: str, order: dict[str, Any], decision: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Trade if that is what the service recommends; a two-way request on the first side where it does."""
    if decision is None:
        return None
    for side in decision["result"]["sides"]:
        action = next((item for item in side["actions"] if item["action"] == side["recommended"]), None)
        if action is None or action["action"] not in ("accept", "split"):
            continue
        body = {"quote_id": action["quote_id"], "side": side["side"]}
        if order["size_mode"] != "all_or_none" and action["quantity"] is not None:
            body["quantity"] = action["quantity"]
        fill: dict[str, Any] = client.post(f"/v1/rfqs/{rfq_id}/accept", body)
        return fill
    return None


if __name__ == "__main__":
    main()
