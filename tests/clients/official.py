"""The merchant API's official Python client, told another base URL and key and otherwise used as published.

Reads {"base_url", "ca", "key"} on its input, prints one JSON object.
"""
import builtins
import io
import json
import sys

# The published client names a type that Python 3 no longer has.
builtins.file = io.IOBase

import channelengine_merchant_api_client as api
from channelengine_merchant_api_client.api import order_api, product_api, settings_api
from channelengine_merchant_api_client.models import MerchantOrderAcknowledgementRequest, MerchantProductRequest


def client(told, key):
    conf = api.Configuration(host=told["base_url"], api_key={"apiKey": key}, discard_unknown_keys=True)
    conf.ssl_ca_cert = told["ca"]
    return api.ApiClient(conf)


def refusal(call):
    """Status, code and message of a call that is refused; it must be an error of the client's own kind."""
    try:
        call()
    except api.ApiException as error:
        envelope = json.loads(error.body)
        assert envelope["Success"] is False and envelope["StatusCode"] == error.status, envelope
        return {"status": error.status, "code": error.headers["keygate-refusal"], "message": envelope["Message"]}
    return {"status": None}


def main():
    told = json.load(sys.stdin)
    shop = client(told, told["key"])
    orders, products = order_api.OrderApi(shop), product_api.ProductApi(shop)
    made = products.product_create([MerchantProductRequest(merchant_product_no="lamp-2", name="Lamp", price=9.5, stock=2)])
    new = orders.order_get_new()
    order = new.content[0]
    request = MerchantOrderAcknowledgementRequest(merchant_order_no="P-1", order_id=order.id)
    done = orders.order_acknowledge(merchant_order_acknowledgement_request=request)
    wrong = "kg_" + "0" * 49
    json.dump(
        {
            "products_rejected": made.content.rejected_count,
            "acknowledged": done.status_code,
            "orders": orders.order_get_by_filter().total_count,
            "refused": refusal(settings_api.SettingsApi(shop).settings_get),
            "wrong_key": refusal(order_api.OrderApi(client(told, wrong)).order_get_new),
        },
        sys.stdout,
    )


main()
