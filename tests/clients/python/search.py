"""redis-py's ft() over shards: an index, a query, the nearest, an aggregate. Needs SLOTWAY_ADDR (host:port)."""

import os
import struct

import redis
from redis.commands.search import aggregation, reducers
from redis.commands.search.field import NumericField, TagField, TextField, VectorField
from redis.commands.search.query import Query

try:
    from redis.commands.search.index_definition import IndexDefinition, IndexType
except ImportError:
    from redis.commands.search.indexDefinition import IndexDefinition, IndexType

HOST, PORT = os.environ["SLOTWAY_ADDR"].rsplit(":", 1)


def vector(x, y):
    return struct.pack("2f", x, y)


def ids(result, protocol):
    if isinstance(result, dict):
        return [row["id"] for row in result["results"]]
    return [document.id for document in result.docs]


def run(protocol):
    client = redis.Redis(host=HOST, port=int(PORT), protocol=protocol, decode_responses=True)
    prefix = f"py{protocol}:"
    index = client.ft(f"shop{protocol}")
    schema = (
        TextField("name"),
        TagField("kind"),
        NumericField("price", sortable=True),
        VectorField("place", "FLAT", {"TYPE": "FLOAT32", "DIM": 2, "DISTANCE_METRIC": "L2"}),
    )
    index.create_index(schema, definition=IndexDefinition(prefix=[prefix], index_type=IndexType.HASH))
    for number in range(50):
        item = {"name": f"item {number}", "kind": "ab"[number % 2], "price": number, "place": vector(number, 0)}
        client.hset(f"{prefix}{number}", mapping=item)
    cheapest = index.search(Query("@kind:{b}").sort_by("price").paging(1, 3).no_content())
    assert ids(cheapest, protocol) == [f"{prefix}{number}" for number in (3, 5, 7)], cheapest
    query = Query("*=>[KNN 3 @place $here AS far]").sort_by("far").return_fields("far", "price").dialect(2)
    nearest = index.search(query, query_params={"here": vector(20.2, 0)})
    assert ids(nearest, protocol) == [f"{prefix}{number}" for number in (20, 21, 19)], nearest
    request = aggregation.AggregateRequest("*").group_by("@kind", reducers.count().alias("n"))
    assert index.aggregate(request.sort_by(aggregation.Asc("@n")))
    try:
        index.search(Query("item"))
        raise AssertionError("an order by statistics of all documents")
    except redis.ResponseError as error:
        assert "give SORTBY" in str(error), error
    assert index.info()["num_docs"] in (50, "50")
    index.dropindex(delete_documents=True)
    assert not client.exists(f"{prefix}1")
    print(f"search, protocol {protocol}: ok")


for protocol in (2, 3):
    run(protocol)
