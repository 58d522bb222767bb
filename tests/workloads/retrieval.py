"""Retrieval: passages with an embedding each, and the nearest ones of a question. Where the servers have vector sets
(Redis 8), they are in several, at different shards: VSIM asks each, and the nearest of all are the answer. Elsewhere
embeddings are in hashes, read in batches over all shards and compared here. Both against an exact computation."""

import asyncio
import heapq
import math
import random
import struct
import time

from redis import exceptions
from stage import run

PASSAGES = 600
DIMENSIONS = 32
TOPICS = 20
QUESTIONS = 40
NEAREST = 10
SETS = 6
# What an HNSW graph of this size finds, and exact comparison.
RECALL = {"vector sets": 0.95, "hashes": 1.0}


def embeddings(random):
    """Unit vectors around some topics, as texts have them, rounded as the servers keep them (32 bits)."""
    centres = [[random.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(TOPICS)]

    def near(centre):
        vector = [value + random.gauss(0, 0.5) for value in centre]
        length = math.sqrt(sum(value * value for value in vector))
        return unpacked(packed([value / length for value in vector]))

    return [near(random.choice(centres)) for _ in range(PASSAGES)], [near(random.choice(centres)) for _ in range(QUESTIONS)]


def packed(vector):
    return struct.pack(f"<{DIMENSIONS}f", *vector)


def unpacked(data):
    return list(struct.unpack(f"<{DIMENSIONS}f", data))


def likeness(one, other):
    return sum(map(lambda a, b: a * b, one, other))


def nearest(question, vectors):
    return heapq.nlargest(NEAREST, vectors, key=lambda passage: likeness(question, vectors[passage]))


class VectorSets:
    """Passages in vector sets over several slots."""

    name = "vector sets"

    def __init__(self, stage, client):
        self.stage, self.client = stage, client
        self.sets = stage.spread(SETS, "vectors")

    async def add(self, passage, vector):
        key = self.sets[passage % SETS]
        # As it was given, not compressed: recall is then the graph's alone.
        await self.stage.again(lambda: self.client.execute_command(
            "VADD", key, "FP32", packed(vector), passage, "NOQUANT", "SETATTR", f'{{"passage": {passage}}}'))

    async def ask(self, question):
        async def ask_all():
            pipe = self.client.pipeline(transaction=False)
            for key in self.sets:
                pipe.execute_command("VSIM", key, "FP32", packed(question), "WITHSCORES", "COUNT", NEAREST, "EF", 100)
            return await pipe.execute()

        found = {}
        for reply in await self.stage.again(ask_all):
            found.update(reply if isinstance(reply, dict) else zip(reply[::2], reply[1::2]))
        return [int(passage) for passage in heapq.nlargest(NEAREST, found, key=lambda name: float(found[name]))]


class Hashes:
    """Passages in a hash each, compared here."""

    name = "hashes"

    def __init__(self, stage, client):
        # Its replies are bytes.
        self.stage, self.client = stage, client

    async def add(self, passage, vector):
        key = self.stage.key("passage", passage)
        fields = {"passage": passage, "embedding": packed(vector)}
        await self.stage.again(lambda: self.client.hset(key, mapping=fields))

    async def ask(self, question):
        vectors = {}
        for first in range(0, PASSAGES, 200):
            async def ask_some():
                pipe = self.client.pipeline(transaction=False)
                for passage in range(first, first + 200):
                    pipe.hmget(self.stage.key("passage", passage), "passage", "embedding")
                return await pipe.execute()

            for passage, embedding in await self.stage.again(ask_some):
                if embedding is not None:
                    vectors[int(passage)] = unpacked(embedding)
        return nearest(question, vectors)


async def store(stage, client):
    """Vector sets where the servers know them."""
    try:
        await stage.again(lambda: client.execute_command("VCARD", stage.key("none")))
        return VectorSets(stage, client)
    except exceptions.ResponseError as error:
        if "unknown command" not in str(error):
            raise
        return Hashes(stage, client)


async def recall(questions, exact, passages):
    """The share of the right neighbours, and whether each answer begins with the right one."""
    hits = firsts = 0
    for question, right in zip(questions, exact):
        got = await passages.ask(question)
        hits += len(set(got) & set(right))
        firsts += got[0] == right[0]
    return hits / (NEAREST * len(questions)), firsts


async def play(stage, spawn):
    client = stage.connect(decode=False)
    vectors, questions = embeddings(random.Random(7))
    exact = [nearest(question, dict(enumerate(vectors))) for question in questions]
    passages = await store(stage, client)
    at = {}

    async def add(passage):
        await passages.add(passage, vectors[passage])
        at[passage] = time.monotonic()

    await asyncio.gather(*map(add, range(PASSAGES)))
    before = await recall(questions[:5], exact[:5], passages)
    middle = spawn(stage.middle())
    during = 0
    while not middle.done():
        # Added again one by one, as an indexer does, while questions are asked.
        await add(random.randrange(PASSAGES))
        await passages.ask(random.choice(questions))
        during += 1
        await asyncio.sleep(0.05)
    for passage in [passage for passage, when in at.items() if stage.may_be_forgotten(when)]:
        await add(passage)
    share, firsts = await recall(questions, exact, passages)
    await client.aclose()
    stage.did(f"{PASSAGES} passages of {DIMENSIONS} dimensions in {passages.name}")
    stage.did(f"{QUESTIONS + during + 5} questions, the {NEAREST} nearest of each")
    wanted = RECALL[passages.name]
    stage.check("the right neighbours are found", share >= wanted, f"recall {share:.3f} >= {wanted}")
    stage.check("and were before the middle", before[0] >= wanted, f"recall {before[0]:.3f}")
    stage.check("the nearest is the first", firsts >= wanted * QUESTIONS, f"{firsts} of {QUESTIONS}")


if __name__ == "__main__":
    run("retrieval", play)
