"""The languages, their Thrift libraries, and what each library has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.clients.thrift.writers.c_glib import CGlib
from tests.clients.thrift.writers.cpp import Cpp
from tests.clients.thrift.writers.go import Go
from tests.clients.thrift.writers.java import Java
from tests.clients.thrift.writers.javascript import Node, TypeScript
from tests.clients.thrift.writers.perl import Perl
from tests.clients.thrift.writers.php import Php
from tests.clients.thrift.writers.ruby import Ruby

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clients.thrift.writers.writer import Writer

COLUMNS = tuple(
    (transport, protocol)
    for transport in ("buffered", "framed", "header", "http")
    for protocol in ("binary", "compact", "json")
    if (transport, protocol) != ("header", "json")  # which no library offers
)
"""Transport and protocol, as the ports have them."""
_JAR_NAMES = ("thrift", "slf4j-api", "slf4j-nop", "geronimo-annotation-1.3-spec", "commons-lang3")
_HTTP_JAR_NAMES = ("httpclient", "httpcore", "commons-logging")
JARS = ":".join(f"/usr/share/java/{name}.jar" for name in (*_JAR_NAMES, *_HTTP_JAR_NAMES))


class Lines(NamedTuple):
    """How the short program of docs/clients.md is built and run, beside the other one. `folder`: the compiler's own."""

    folder: str
    source: str
    run: str
    build: tuple[str, ...] = ()


class Language(NamedTuple):
    """How a program is written, built and run, in a folder with `generated`, the compiler's output, and `source`.

    `library` is what a user installs, `has` the columns that it has. A Python library has no writer.
    """

    title: str
    library: str
    has: tuple[tuple[str, str], ...] = COLUMNS
    writer: type[Writer] | None = None
    source: str = ""
    generator: str = ""
    build: tuple[str, ...] = ()
    run: str = ""
    programs: tuple[str, ...] = ()
    lines: Lines | None = None
    faults: Mapping[tuple[str, str], str] = {}


_BINARY_COMPACT = ("binary", "compact")


def _json_faults(what: str) -> dict[tuple[str, str], str]:
    """Of a library whose JSON protocol does not read what others do."""
    return {(transport, "json"): what for transport in ("buffered", "framed", "http")}


def _only(*transports: str, protocols: tuple[str, ...] = ("binary", "compact", "json")) -> tuple[tuple[str, str], ...]:
    return tuple(column for column in COLUMNS if column[0] in transports and column[1] in protocols)


_CPP = "g++ -std=c++17 -O0 -w -Igenerated -c"
_C = "gcc -std=gnu11 -O0 -w -Igenerated $(pkg-config --cflags thrift_c_glib)"
_C_LIBRARIES = "$(pkg-config --libs thrift_c_glib) -lm"
_TSC = "node_modules/.bin/tsc --strict --target es2022 --module node16 --skipLibCheck"
LANGUAGES = {
    "cpp": Language(
        "C++",
        "libthrift-dev",
        COLUMNS,
        Cpp,
        "client.cc",
        "cpp:no_skeleton",
        (
            f"{_CPP} client.cc -o client.o",
            f"{_CPP} generated/Predictor.cpp -o Predictor.o",
            f"{_CPP} generated/predictor_types.cpp -o predictor_types.o",
            "g++ client.o Predictor.o predictor_types.o -lthriftz -lthrift -lz -o client",
        ),
        "./client",
        ("g++",),
        Lines(
            "gen-cpp",
            "hello.cc",
            "./hello",
            (
                f"{_CPP} hello.cc -o hello.o",
                "g++ hello.o Predictor.o predictor_types.o -lthriftz -lthrift -lz -o hello",
            ),
        ),
    ),
    "c_glib": Language(
        "C",
        "libthrift-c-glib-dev",
        _only("buffered", "framed", protocols=("binary", "compact")),
        CGlib,
        "client.c",
        "c_glib",
        (
            *(f"{_C} -c generated/{name}.c -o {name}.o" for name in ("predictor", "predictor_types")),
            f"{_C} client.c predictor.o predictor_types.o -o client {_C_LIBRARIES}",
        ),
        "./client",
        ("gcc", "pkg-config"),
        Lines(
            "gen-c_glib",
            "hello.c",
            "./hello",
            (f"{_C} hello.c predictor.o predictor_types.o -o hello {_C_LIBRARIES}",),
        ),
    ),
    "java": Language(
        "Java",
        "libthrift-java",
        _only("buffered", "framed", "http"),
        Java,
        "Client.java",
        "java",
        (f"javac -nowarn -proc:none -Xlint:none -cp {JARS} -sourcepath generated -d classes Client.java",),
        f"java -XX:TieredStopAtLevel=1 -cp classes:{JARS} Client",
        ("java", "javac"),
        Lines(
            "gen-java",
            "Hello.java",
            f"java -XX:TieredStopAtLevel=1 -cp classes:{JARS} Hello",
            (f"javac -nowarn -proc:none -cp classes:{JARS} -d classes Hello.java",),
        ),
    ),
    "go": Language(
        "Go",
        "golang-thrift-dev",
        COLUMNS,
        Go,
        "client.go",
        "go",
        ("mkdir -p src", "cp -r generated/predictor src", "go build -o client client.go"),
        "./client",
        ("go",),
        Lines("gen-go", "hello.go", "./hello", ("go build -o hello hello.go",)),
    ),
    "node": Language(
        "Node.js",
        "thrift (npm)",
        _only("buffered", "framed", "http", protocols=_BINARY_COMPACT),
        Node,
        "client.js",
        "js:node",
        ("cp generated/Predictor.js generated/predictor_types.js .",),
        "node client.js",
        ("node", "npm"),
        Lines("gen-nodejs", "hello.js", "node hello.js"),
        _json_faults("lists in lists come short"),
    ),
    "typescript": Language(
        "TypeScript",
        "thrift, @types/thrift (npm)",
        _only("buffered", "framed", "http", protocols=_BINARY_COMPACT),
        TypeScript,
        "client.ts",
        "js:node,ts",
        (
            "cp -r generated/. .",
            f"{_TSC} client.ts",
        ),
        "node client.js",
        ("node", "npm"),
        Lines("gen-nodejs", "hello.ts", "node hello.js", (f"{_TSC} hello.ts",)),
        _json_faults("lists in lists come short"),
    ),
    "ruby": Language(
        "Ruby",
        "ruby-thrift",
        _only("buffered", "framed", "http", protocols=_BINARY_COMPACT),
        Ruby,
        "client.rb",
        "rb",
        (),
        "ruby -W0 -Igenerated client.rb",
        ("ruby",),
        Lines("gen-rb", "hello.rb", "ruby -W0 hello.rb"),
        _json_faults("texts and numbers come wrong"),
    ),
    "perl": Language(
        "Perl",
        "libthrift-perl",
        _only("buffered", "framed", protocols=("binary",)),
        Perl,
        "client.pl",
        "perl",
        (),
        "perl -Igenerated client.pl",
        ("perl",),
        Lines("gen-perl", "hello.pl", "perl hello.pl"),
        {("http", "binary"): "requests of a megabyte fail"},
    ),
    "php": Language(
        "PHP",
        "php-thrift",
        _only("buffered", "framed", "http", protocols=_BINARY_COMPACT),
        Php,
        "client.php",
        "php",
        (),
        "php -d memory_limit=1G client.php",
        ("php",),
        Lines("gen-php", "hello.php", "php hello.php"),
        _json_faults("binary fields come as base64"),
    ),
    "apache": Language("Python", "thrift (PyPI)"),
    "thriftpy2": Language(
        "Python",
        "thriftpy2 (PyPI)",
        _only("buffered", "framed", "http", protocols=_BINARY_COMPACT),
        faults=_json_faults("optional fields fail"),
    ),
    "thriftpy2_aio": Language(
        "Python, asyncio",
        "thriftpy2 (PyPI)",
        _only("buffered", "framed", protocols=("binary",)),
        faults=dict.fromkeys(_only("buffered", "framed", protocols=("compact",)), "its maps are empty"),
    ),
    "aiothrift": Language(
        "Python, asyncio", "aiothrift (PyPI)", (), faults={("buffered", "binary"): "all but fields of type binary"}
    ),
}


def table(marks: Mapping[tuple[str, str, str], str] | None = None) -> str:
    """A row for each language and library. `marks`: what a run found of a name and a column; None: what is to be."""
    head = ["language", "library", *(f"{transport}, {protocol}" for transport, protocol in COLUMNS)]
    rows = [head, ["---"] * len(head)]
    for name, language in LANGUAGES.items():
        cells = [
            language.faults.get(column, "")
            if column not in language.has
            else "yes"
            if marks is None
            else marks[name, *column]
            for column in COLUMNS
        ]
        rows.append([language.title, language.library, *cells])
    return "".join(f"| {' | '.join(row)} |\n".replace("|  |", "| |").replace("|  |", "| |") for row in rows)
