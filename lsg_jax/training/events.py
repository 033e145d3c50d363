"""TensorBoard events, written at once: tensorboardX's own writer has a thread do it, which tells nobody what failed."""

import struct
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from lsg_jax import files


def append(file: Path, step: int, values: dict[str, float]) -> None:
    """Adds the values of a step, by name, to an event file, which is made where there is none.

    A new file starts with a mark by which TensorBoard drops what the other files of its folder say of this step and of
    later ones, as when training goes on from an earlier checkpoint.

    Raises OSError, which names the file, where it cannot be written.
    """
    now = time.time()
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    events = [Event(wall_time=now, step=step, summary=Summary(value=scalars))]
    if not file.exists():
        start = Event(wall_time=now, step=step, session_log=SessionLog(status=SessionLog.START))
        events = [Event(wall_time=now, file_version="brain.Event:2"), start, *events]
    with files.naming(file), file.open("ab") as stream:
        stream.write(b"".join(map(_record, events)))


def _record(event: Event) -> bytes:
    """Returns an event as TFRecord has it: length, its checksum, data, their checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
