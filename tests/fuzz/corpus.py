"""The inputs that are kept: a folder for each target, a file for each, named for its point."""

from hashlib import sha256
from pathlib import Path

from harness.machine import REPOSITORY

CORPUS = Path(__file__).with_name("corpus")


def read_inputs(target: str) -> dict[str, bytes]:
    """The kept inputs of a target by file name, in the order of their names."""
    return {file.name: file.read_bytes() for file in sorted((CORPUS / target).glob("*"))}


def keep_finding(target: str, kind: str, data: bytes) -> Path:
    """Write an input that something is wrong with; the same one is the same file."""
    file = CORPUS / target / f"{kind}-{sha256(data).hexdigest()[:10]}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def describe_replay(file: Path) -> str:
    """What to type to see it again."""
    return f"make fuzz INPUT={file.relative_to(REPOSITORY)}"
