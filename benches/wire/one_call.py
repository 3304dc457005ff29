"""Just enough of protobuf, HTTP/2 and HPACK to ask one question and read the answer.

h2load sends a body that somebody else has made, and looks at no answer: what it was
answered is looked at by asking the same thing here.
"""

import socket
import struct

# Frames and flags of RFC 9113.
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8


class Failed(Exception):
    """No message came back."""


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    """A field of a message: a number, a text, or the bytes of a message inside."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(message):
    """The fields of a message, as (number, value) in their order."""
    at, found = 0, []

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            value = number()
        elif kind == 2:
            length = number()
            value = message[at : at + length]
            at += length
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
            value = message[at : at + length]
            at += length
        else:
            raise Failed(f"no message: kind {kind} of a field")
        found.append((key >> 3, value))
    return found


def framed(message):
    """As gRPC sends it: not compressed, with its length."""
    return b"\0" + struct.pack(">I", len(message)) + message


def call(port, path, message, timeout=10):
    """Asks a server on loopback, and returns the message that it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout) as link:
        link.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, b"")
            + frame(HEADERS, END_HEADERS, 1, headers(f"127.0.0.1:{port}", path))
            + frame(DATA, END_STREAM, 1, framed(message))
        )
        answer = read_answer(link)
    if len(answer) < 5:
        raise Failed(f"{path}: an error, and no message")
    if answer[0] != 0:
        raise Failed(f"{path}: a compressed message")
    return answer[5 : 5 + struct.unpack(">I", answer[1:5])[0]]


def read_answer(link):
    """The data of stream 1, until its end. One answer fits into every window."""
    answer = b""
    while True:
        length, kind, flags, stream = header(exactly(link, 9))
        payload = exactly(link, length)
        if kind == SETTINGS and not flags & ACK:
            link.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            link.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY or kind == RST_STREAM and stream == 1:
            raise Failed("the server ended it")
        elif kind == DATA and stream == 1:
            answer += payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
        if kind in (DATA, HEADERS) and stream == 1 and flags & END_STREAM:
            return answer


def header(data):
    """A frame's head: length, kind, flags, stream."""
    high, low, kind, flags, stream = struct.unpack(">BHBBI", data)
    return high << 16 | low, kind, flags, stream & 0x7FFFFFFF


def frame(kind, flags, stream, payload):
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def headers(authority, path):
    """The request's fields as literals that nobody has to remember (RFC 7541, 6.2.2)."""
    named = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(b"\0" + text(name) + text(value) for name, value in named.items())


def text(value):
    """A string as it is, shorter than the 127 bytes from which lengths have a second byte."""
    data = value.encode()
    assert len(data) < 127
    return bytes([len(data)]) + data


def exactly(link, length):
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise Failed("the server closed the connection")
        data += more
    return data
