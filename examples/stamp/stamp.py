#!/usr/bin/env python3
"""Stamps and books for rollcall from Python, with the standard library alone: docs/stamp.md.

    stamper = Stamper("orders")
    headers = stamper.next(lane=3, id="order-4711")   # [(name, bytes), ...]

Send a message with these headers, and whenever the answer is in doubt send it again with
the same ones: a receiver does it once. Books say what became of the numbers, for
`rollcall audit`; send each record as a message of its own to the destination _rollcall,
with the life in hexadecimal as its key and without a stamp:

    books = Books(stamper, sender="till 7", next_ms=10000)
    books.stored(lane=3, sequence=1)          # the broker has acknowledged it
    body = books.record()                     # birth, later beacon; at the end record("end")

As a program it prints the headers of some messages as JSON, one line a message, the values
in hexadecimal; told what became of each it prints the books before, after and at the end:

    python3 stamp.py orders 2                      # two messages for orders, lane 0
    python3 stamp.py orders 3 stored maybe void    # and the books of a sender that was told that
"""
import datetime
import hashlib
import json
import secrets
import sys

VERSION, OWN_ID = 1, 0x80


def varint(n):
    """LEB128: seven bits a byte, the lowest first, the high bit says that more follow."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def origin_of(destination):
    """What a stamp remembers of the first destination's name."""
    return hashlib.sha256(destination.encode()).digest()[:8]


def encode(life, destination, lane, sequence, own_id=False):
    """The bytes of the header rollcall-stamp."""
    if len(life) != 16 or not 0 <= lane < 1 << 32 or not 0 < sequence < 1 << 64:
        raise ValueError("life has 16 bytes, lane 32 bits, sequence 64 bits and is not 0")
    head = VERSION | (OWN_ID if own_id else 0)
    return bytes([head]) + life + origin_of(destination) + varint(lane) + varint(sequence)


class Stamper:
    """Numbers the messages of one run of a program for one destination.

    Make a new one in every process, after a fork too, and never store it: its life is 128
    random bits, so that a copied disk cannot make two senders one. It is not safe for use by
    several threads at once.
    """

    def __init__(self, destination):
        self.life = secrets.token_bytes(16)
        self.destination = destination
        self.last = {}

    def next(self, lane=0, id=None):
        """The headers of the next message of a lane, in Kafka its partition. id is yours, if
        the message has one: unique, and the same when it is made again."""
        sequence = self.last[lane] = self.last.get(lane, 0) + 1
        headers = [("rollcall-stamp", encode(self.life, self.destination, lane, sequence, id is not None))]
        if id is not None:
            headers.append(("rollcall-id", id.encode()))
        return headers


def ranges(numbers):
    """Numbers as sorted ranges [first, last], both included."""
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


class Books:
    """What one run of a program knows of the numbers that it gave out.

    A program that sends for months keeps ranges in place of numbers; this one shows the
    form. next_ms is how long it takes at most until the next record, while it lives.
    """

    def __init__(self, stamper, sender="", next_ms=10000):
        self.stamper, self.sender, self.next_ms = stamper, sender, next_ms
        self.number = 0
        self.fates = {"stored": {}, "void": {}, "maybe": {}}
        self.marks = {}

    def stored(self, lane, sequence):
        """The broker has acknowledged it: also when an earlier try was in doubt."""
        self.fates["maybe"].get(lane, set()).discard(sequence)
        self.fates["stored"].setdefault(lane, set()).add(sequence)

    def void(self, lane, sequence):
        """It is surely not stored, and will not be sent again: every try was refused."""
        self.fates["void"].setdefault(lane, set()).add(sequence)

    def maybe(self, lane, sequence):
        """It was sent, and nobody knows: an answer did not come."""
        self.fates["maybe"].setdefault(lane, set()).add(sequence)

    def mark(self, lane, sequence, partition, offset, incarnation):
        """Where a stored number lies. incarnation: in Kafka the 16 bytes of the topic's id.
        One now and then is enough."""
        self.marks.setdefault(lane, []).append({"sequence": sequence, "partition": partition,
            "offset": offset, "incarnation": incarnation.hex(), "time": now()})

    def record(self, kind=None):
        """The next record, as JSON: birth first, then beacon; "end" is the last one."""
        self.number += 1
        lanes = []
        for lane, given in sorted(self.stamper.last.items()):
            out = {"lane": lane, "given": given}
            for fate, of in self.fates.items():
                if of.get(lane):
                    out[fate] = ranges(of[lane])
            if lane in self.marks:
                out["marks"] = self.marks[lane]
            lanes.append(out)
        book = {"v": 1, "kind": kind or ("birth" if self.number == 1 else "beacon"), "life": self.stamper.life.hex(),
                "sender": self.sender, "destination": self.stamper.destination, "number": self.number,
                "time": now(), "next_ms": self.next_ms, "lanes": lanes}
        return json.dumps({name: value for name, value in book.items() if value not in ("", [])})


def now():
    """The time as books have it: RFC 3339, UTC."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[2].isdigit():
        sys.exit("usage: stamp.py DESTINATION COUNT [FATE...], such as: stamp.py orders 3 stored maybe void")
    destination, count, fates = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    stamper = Stamper(destination)
    books = Books(stamper, sender="stamp.py")
    if set(fates) - set(books.fates) or fates and len(fates) != count:
        sys.exit("stamp.py: a fate for each of the %d messages is needed: stored, maybe or void" % count)
    if fates:
        print(books.record())
    for _ in range(count):
        print(json.dumps([[name, value.hex()] for name, value in stamper.next()]))
    for sequence, fate in enumerate(fates, 1):
        getattr(books, fate)(0, sequence)
    if fates:
        print(books.record())
        print(books.record("end"))
