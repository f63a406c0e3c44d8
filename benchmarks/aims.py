"""What pyfpm sets out to reach, and whether this run shows it: ratios, so that machines compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Tables = Mapping[str, Mapping[str, Any]]  # a table's `figures`, by the table's name


@dataclass(frozen=True)
class Aim:
    """One figure and its bound; `read` raises KeyError where this run did not measure it."""

    what: str
    read: Callable[[Tables], float]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g} {self.unit}"
        return f"at most {self.at_most:g} {self.unit}"

    def is_met(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def hello(name: str, key: str = "rate") -> Callable[[Tables], float]:
    return lambda tables: tables["hello"]["medians"][name][key]


def fastest(prefix: str) -> Callable[[Tables], float]:
    """The better of a peer's ways in the hello table."""

    def read(tables: Tables) -> float:
        found = [
            one["rate"]
            for name, one in tables["hello"]["medians"].items()
            if name.startswith(prefix)
        ]
        if not found:
            raise KeyError(prefix)
        return max(found)

    return read


def ratio(
    one: Callable[[Tables], float], other: Callable[[Tables], float]
) -> Callable[[Tables], float]:
    return lambda tables: one(tables) / other(tables)


def pss(name: str) -> Callable[[Tables], float]:
    return lambda tables: tables["memory"]["pss"][name]["8"]["per_worker_mib"]


def body(name: str, way: str) -> Callable[[Tables], float]:
    return lambda tables: tables["bodies"]["medians"][f"{name} | {way}"]["mb_per_s"]


def growth(tables: Tables) -> float:
    found = tables["bodies"]["largest_growth_mib"].items()
    return max(mib for case, mib in found if case.startswith("pyfpm"))


def first_request(tables: Tables) -> float:
    return tables["boot"]["medians"]["first request of an ondemand pool"] * 1000


def pools(key: str) -> Callable[[Tables], float]:
    return lambda tables: tables["pools"]["pools"]["100 pools × 5 workers"][key]


def p99(company: str) -> Callable[[Tables], float]:
    return lambda tables: tables["slow_clients"]["medians"][f"pyfpm, kept | {company}"]["p99_ms"]


def flooded_p99(name: str) -> Callable[[Tables], float]:
    """The worse of both floods by the quiet one."""

    def read(tables: Tables) -> float:
        middle = tables["floods"]["medians"]
        worst = max(middle[f"{name} | {way}"]["p99_ms"] for way in ("beside 5,200", "coming back"))
        return worst / middle[f"{name} | alone"]["p99_ms"]

    return read


def kept_or_closed(way: str) -> Callable[[Tables], float]:
    return lambda tables: tables["kept_vs_closed"]["medians"][way]["rate"]


KEPT, CLOSED, UWSGI = "pyfpm, kept", "pyfpm, closed", "uWSGI, FastCGI"

AIMS = (
    Aim("hello, kept, of uWSGI FastCGI", ratio(hello(KEPT), hello(UWSGI)), at_least=1.8),
    Aim("hello, kept, of the better PHP-FPM", ratio(hello(KEPT), fastest("PHP-FPM")), at_least=2.8),
    Aim("hello, kept, of the C responder", ratio(hello(KEPT), hello("C, kept")), at_least=0.85),
    Aim("hello, closed, of uWSGI FastCGI", ratio(hello(CLOSED), hello(UWSGI)), at_least=1.05),
    Aim(
        "hello, closed, CPU a request, of uWSGI FastCGI",
        ratio(hello(CLOSED, "cpu_us"), hello(UWSGI, "cpu_us")),
        at_most=0.95,
    ),
    Aim(
        "hello, plain Python, kept, of uWSGI FastCGI",
        ratio(hello("pyfpm plain, kept"), hello(UWSGI)),
        at_least=1.2,
    ),
    Aim(
        "one request in ten slow, kept, of closed",
        ratio(kept_or_closed("kept"), kept_or_closed("closed")),
        at_least=0.97,
    ),
    Aim(
        "p99 of fast requests, ¼ of the workers blocked, of alone",
        ratio(p99("quarter blocked"), p99("alone")),
        at_most=3,
    ),
    Aim("p99 beside 5,200 idle connections, kept, of alone", flooded_p99(KEPT), at_most=3),
    Aim("p99 beside 5,200 idle connections, closed, of alone", flooded_p99(CLOSED), at_most=3),
    Aim(
        "PSS a worker, 8 workers, of gunicorn without preload",
        ratio(pss("pyfpm"), pss("gunicorn, no preload")),
        at_most=0.5,
    ),
    Aim(
        "PSS a worker, 8 workers, of uWSGI preforking",
        ratio(pss("pyfpm"), pss("uWSGI, preforking")),
        at_most=1.0,
    ),
    Aim("first request of an idle ondemand Django pool", first_request, at_most=20, unit="ms"),
    Aim(
        "1 GiB upload, of uWSGI FastCGI",
        ratio(body("pyfpm", "upload"), body(UWSGI, "upload")),
        at_least=1.0,
    ),
    Aim(
        "1 GiB download, of uWSGI FastCGI",
        ratio(body("pyfpm", "download"), body(UWSGI, "download")),
        at_least=1.0,
    ),
    Aim("growth of resident memory by 1 GiB", growth, at_most=16, unit="MiB"),
    Aim("100 idle pools × 5 workers: start", pools("start_s"), at_most=10, unit="s"),
    Aim(
        "100 idle pools × 5 workers: CPU of the master",
        pools("master_cpu_percent"),
        at_most=1,
        unit="%",
    ),
    Aim(
        "100 idle pools × 5 workers: master's RSS", pools("master_rss_mib"), at_most=60, unit="MiB"
    ),
)


def judge(tables: Tables) -> list[dict[str, object]]:
    """The aims that this run can speak of."""
    judged = []
    for aim in AIMS:
        try:
            value = aim.read(tables)
        except KeyError:
            continue
        judged.append(
            {
                "what": aim.what,
                "measured": value,
                "unit": aim.unit,
                "bound": aim.bound,
                "met": aim.is_met(value),
            }
        )
    return judged
