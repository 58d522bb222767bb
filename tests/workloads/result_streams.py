"""Answers of a model, streamed: each is a stream to which its writer XADDs tokens as they come; readers XREAD BLOCK from
the last id that they saw, and now and then close their connection and go on from there on a new one. Some read one
answer, some three at once, which are at different shards.

A token carries its place in the answer. So a reader knows a token that was sent twice, or that is missing since a
killed primary has forgotten it; and the writer, who looks at what is there before it says that the answer is
complete, sends again from where it breaks off."""

import asyncio
import random

from redis import exceptions
from stage import may_have_run, did_not_run, run

ANSWERS = 36
TOKENS = 120
# Tokens that come at once are sent in one pipeline.
BURST = 4


def token(answer, place):
    return f"{answer}/{place}"


class Reader:
    """What one reader has of its answers."""

    def __init__(self, answers):
        self.last = dict.fromkeys(answers, "0-0")
        self.got = {answer: [] for answer in answers}
        self.again = self.early = self.reconnects = 0

    def take(self, answer, entry, fields):
        self.last[answer] = entry
        place, expected = int(fields["place"]), len(self.got[answer])
        if place == expected:
            self.got[answer].append(fields["token"])
        elif place < expected:
            self.again += 1
        else:
            self.early += 1  # it comes again, behind what is missing

    def missing(self):
        return [answer for answer, tokens in self.got.items() if len(tokens) < TOKENS]

    def is_right(self):
        return all(tokens == [token(answer, place) for place in range(TOKENS)]
                   for answer, tokens in self.got.items())


async def read(stage, reader):
    client = stage.connect()
    while wanted := reader.missing():
        from_where = {answer: reader.last[answer] for answer in wanted}
        # XREAD takes nothing away, so it may be asked again.
        reply = await stage.again(lambda: client.xread(from_where, count=20, block=1000))
        for answer, entries in reply.items() if isinstance(reply, dict) else reply or []:
            entries = entries[0] if entries and isinstance(entries[0], list) else entries
            for entry, fields in entries:
                reader.take(answer, entry, fields)
        if random.random() < 0.05:
            await client.aclose()
            client = stage.connect()
            reader.reconnects += 1
    await client.aclose()


async def write(stage, client, answer, pause, sent):
    """Sends the answer's tokens; ends when they are all in the stream."""
    place = 0
    while place < TOKENS:
        pipe = client.pipeline(transaction=False)
        burst = range(place, min(place + BURST, TOKENS))
        for number in burst:
            pipe.xadd(answer, {"place": number, "token": token(answer, number)})
        replies = await burst_sent(stage, pipe)
        sent["tokens"] += len(burst)
        # On from the first that failed: behind it there may be others that did not.
        failed = [number for number, reply in zip(burst, replies) if isinstance(reply, Exception)]
        place = failed[0] if failed else burst.stop
        await asyncio.sleep(0.1 if failed else pause())
        if place == TOKENS:
            place = await complete_until(stage, client, answer)


async def burst_sent(stage, pipe):
    try:
        replies = await pipe.execute(raise_on_error=False)
    except exceptions.RedisError as error:
        replies = [error] * BURST
    for reply in replies:
        if isinstance(reply, Exception):
            if not (may_have_run(reply) or did_not_run(reply)):
                raise reply
            stage.errors["did not run" if did_not_run(reply) else "may have run"] += 1
    return replies


async def complete_until(stage, client, answer):
    """The first place that the stream breaks off at."""
    place = 0
    for _, fields in await stage.again(lambda: client.xrange(answer)):
        place += int(fields["place"]) == place
    return place


async def play(stage, spawn):
    client = stage.connect()
    answers = stage.spread(ANSWERS, "answer")
    random.shuffle(answers)
    readers = [Reader([answer]) for answer in answers]
    readers += [Reader(answers[index:index + 3]) for index in range(0, ANSWERS, 3)]
    sent = {"tokens": 0}
    # A third is written before the middle, a third through it, a third behind it.
    hurried = [spawn(write(stage, client, answer, lambda: 0.03, sent)) for answer in answers[0::3]]
    through = [spawn(write(stage, client, answer, lambda: 0.05 if stage.over else 0.2, sent)) for answer in answers[1::3]]
    tasks = [spawn(read(stage, reader)) for reader in readers]
    await asyncio.wait(hurried)
    await stage.middle()
    stage.over = True
    behind = [spawn(write(stage, client, answer, lambda: 0.03, sent)) for answer in answers[2::3]]
    hung = (await asyncio.wait([*tasks, *through, *behind], timeout=40))[1]
    for task in hung:
        task.cancel()
    await client.aclose()
    complete = sum(not reader.missing() for reader in readers)
    right = sum(reader.is_right() for reader in readers)
    again, early = sum(reader.again for reader in readers), sum(reader.early for reader in readers)
    stage.did(f"{ANSWERS} answers of {TOKENS} tokens, {sent['tokens']:,} tokens sent")
    stage.did(f"{len(readers)} readers, {sum(reader.reconnects for reader in readers)} reconnects")
    stage.check("each reader has each token", complete == len(readers) and not hung, f"{complete} of {len(readers)} readers")
    stage.check("in order, and nothing else", right == len(readers), f"{right} of {len(readers)} readers")
    # Each may come again for each that was not known to be there, and for what the writer sends behind a gap.
    alone = not stage.errors and sent["tokens"] == ANSWERS * TOKENS
    stage.check("nothing twice without an error", not alone or not (again or early), f"{again} twice, {early} early")


if __name__ == "__main__":
    run("result streams", play)
