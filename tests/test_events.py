"""TensorBoard's files, against a reader of the TFRecord format that is written out here."""

import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog

from lsg_jax.training import events


def masked_crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 defines the checksum and TFRecord masks it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) % 2**32


def read(content: bytes) -> list[Event]:
    found = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data, rest = content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[8:12]) == (masked_crc32c(content[:8]),)
        assert struct.unpack("<I", rest[:4]) == (masked_crc32c(data),)
        found.append(Event.FromString(data))
        content = rest[4:]
    return found


def test_the_checksum_is_the_published_one():
    value = (masked_crc32c(b"123456789") - 0xA282EAD8) % 2**32
    assert ((value << 15) | (value >> 17)) % 2**32 == 0xE3069283


def test_a_file_starts_anew_at_its_first_step_and_holds_every_value(tmp_path):
    file = tmp_path / "events"
    events.append(file, 4, {"loss": 0.5, "density": 0.25})
    events.append(file, 5, {"loss": 0.375})
    version, start, *steps = read(file.read_bytes())
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    assert [(step.step, {value.tag: value.simple_value for value in step.summary.value}) for step in steps] == [
        (4, {"loss": 0.5, "density": 0.25}),
        (5, {"loss": 0.375}),
    ]
    assert all(event.wall_time > 0 for event in (version, start, *steps))
