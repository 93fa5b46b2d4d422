#!/usr/bin/env python3
"""Stamps for rollcall from Python, with the standard library alone: docs/stamp.md.

    stamper = Stamper("orders")
    headers = stamper.next(lane=3, id="order-4711")   # [(name, bytes), ...]

Send a message with these headers, and whenever the answer is in doubt send it again with
the same ones: a receiver does it once. As a program it prints the headers of some messages
as JSON, one line a message, the values in hexadecimal:

    python3 stamp.py orders 2        # two messages for orders, lane 0
"""
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


if __name__ == "__main__":
    stamper = Stamper(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        print(json.dumps([[name, value.hex()] for name, value in stamper.next()]))
